"""Solving a model with HiGHS, phase by phase."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pulp

from colchis_master.lra.apart import Apart
from colchis_master.lra.configurations import Configurations
from colchis_master.lra.highs import Answer, Ask, Sparse, minimise, program_of
from colchis_master.lra.model import Model

Terms = Sequence[tuple[pulp.LpVariable, float]]
SMALL = 2000
"""Columns up to which a program is solved in this process: beyond, HiGHS might not look at the
clock for long."""
NOTHING = 1e-5


class Solver:
    """One model in HiGHS, whose objective and rows change from phase to phase. A context manager:
    it may have a process of its own, to be ended."""

    def __init__(
        self,
        model: Model | Configurations,
        deadline: float,
        last: float,
        clock: Callable[[], float],
    ) -> None:
        """HiGHS is told to stop at the ``deadline``, and ended at the ``last`` moment."""
        self._model = model
        self._deadline = deadline
        self._last = last
        self._clock = clock
        self._apart: Apart | None = None
        if isinstance(model, Model) and len(model.rows.variables) > SMALL:
            self._apart = Apart(clock)
        self._program = program_of(model.rows)
        if self._apart is not None:
            self._apart.load(self._program)
        self._rows: list[tuple[Sparse, float]] = []
        self._zero: list[int] = []
        self._columns: Sequence[float] | None = None
        self._start: Mapping[int, float] = {}

    def __enter__(self) -> "Solver":
        return self

    def __exit__(self, *_: object) -> None:
        if self._apart is not None:
            self._apart.close()

    def start_from(self, assigned: Mapping[tuple[int, int], int], placed: set[int]) -> None:
        """Offer a heuristic's plan; HiGHS works out the rest of the variables itself."""
        values = self._model.start(assigned)
        if not values:
            return
        for app, variable in enumerate(self._model.placed):
            values[variable.index] = float(app in placed)
        self._start = values

    def keep_at_most(self, terms: Terms, limit: float) -> None:
        """A row for the phases to come."""
        row = _merged(terms)
        lowest = self._program.lower[row.indices].min(initial=0.0)
        if 0 <= limit <= NOTHING and lowest >= 0 and min(row.factors, default=0) > 0:
            # All of them are zero then. One row of so many would hold up presolve for minutes.
            self._zero += row.indices
        else:
            self._rows.append((row, limit))

    def minimise(
        self, terms: Terms, gap: float, rows: Sequence[tuple[Terms, float]] = ()
    ) -> Answer | None:
        """The best found within the time left, None where there is none. ``rows`` (each at most a
        limit) hold for this time only. Raises NoSolutionError where nothing keeps all rows."""
        answer = self._run(terms, gap, rows, warm=True)
        if answer is not None and abs(_worth(terms, answer.columns) - answer.value) > NOTHING:
            # HiGHS 1.16 may give the start it was offered beside the value of a better solution.
            answer = self._run(terms, gap, rows, warm=False)
        if answer is not None:
            self._columns = answer.columns
        return answer

    def _run(
        self, terms: Terms, gap: float, rows: Sequence[tuple[Terms, float]], warm: bool
    ) -> Answer | None:
        seconds = self._deadline - self._clock()
        if seconds <= 0.02:
            return None
        ask = Ask(
            _merged(terms),
            [*self._rows, *((_merged(kept), limit) for kept, limit in rows)],
            self._zero,
            self._warm_start() if warm else Sparse((), ()),
            gap,
            seconds,
        )
        if self._apart is not None:
            return self._apart.minimise(ask, self._last)
        return minimise(self._program, ask, self._clock)

    def _warm_start(self) -> Sparse:
        if self._columns is not None:
            columns = np.array(self._columns)
            columns[self._zero] = 0.0
            return Sparse(range(len(columns)), columns.tolist())
        return Sparse(list(self._start), list(self._start.values()))


def _worth(terms: Terms, columns: Sequence[float]) -> float:
    return math.fsum(factor * columns[variable.index] for variable, factor in terms)


def _merged(terms: Terms) -> Sparse:
    merged: dict[int, float] = {}
    for variable, factor in terms:
        merged[variable.index] = merged.get(variable.index, 0.0) + factor
    return Sparse(list(merged), list(merged.values()))
