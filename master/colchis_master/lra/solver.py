"""Solving a model with HiGHS, phase by phase."""

import contextlib
import ctypes
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulp

from colchis_master.lra.configurations import Configurations
from colchis_master.lra.model import Model

Terms = Sequence[tuple[pulp.LpVariable, float]]
_INFINITE = 1e20
_PROBING = 1 << 15
"""Presolve's probing: it takes long on choices among many, and does not look at the clock."""


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what C code prints on standard output to nowhere for a moment: HiGHS prints a banner at
    its first use, which would spoil a command's own output. Not for use beside other threads that
    print."""
    libc = ctypes.CDLL(None)
    libc.fflush(None)
    saved = os.dup(1)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        yield
    finally:
        libc.fflush(None)
        os.dup2(saved, 1)
        os.close(saved)


class SolverFailedError(Exception):
    """HiGHS ended without a usable answer."""


class NoSolutionError(SolverFailedError):
    """No values keep all rows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a phase came to, minimised: ``bound`` is proven, ``value`` is that of ``columns``;
    ``finished`` unless time ran out before the gap asked for."""

    value: float
    bound: float
    columns: Sequence[float]
    finished: bool


class Solver:
    """One model in HiGHS, whose objective and rows change from phase to phase."""

    def __init__(
        self, model: Model | Configurations, deadline: float, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._deadline = deadline
        self._clock = clock
        program = model.rows.program
        program.setObjective(pulp.lpSum(model.placed))
        with quiet_stdout():
            solver = pulp.HiGHS(msg=False)
            solver.createAndConfigureSolver(program)
            solver.buildSolverModel(program)
        self._program: Any = program.solverModel.getLp()
        self._rows: list[tuple[Terms, float]] = []
        self._columns: Sequence[float] | None = None
        self._start: Mapping[int, float] = {}

    @property
    def remaining(self) -> float:
        return self._deadline - self._clock()

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
        self._rows.append((terms, limit))

    def minimise(
        self, terms: Terms, gap: float, rows: Sequence[tuple[Terms, float]] = ()
    ) -> Answer | None:
        """The best found within the time left, None where there is none. ``rows`` (each at most a
        limit) hold for this time only. Raises NoSolutionError where nothing keeps all rows."""
        import highspy

        answer = self._run(highspy, terms, gap, rows, warm=True)
        if answer is not None and abs(_worth(terms, answer.columns) - answer.value) > 1e-5:
            # HiGHS 1.16 may give the start it was offered beside the value of a better solution.
            answer = self._run(highspy, terms, gap, rows, warm=False)
        if answer is not None:
            self._columns = answer.columns
        return answer

    def _run(
        self,
        highspy: Any,
        terms: Terms,
        gap: float,
        rows: Sequence[tuple[Terms, float]],
        warm: bool,
    ) -> Answer | None:
        seconds = self.remaining
        if seconds <= 0.02:
            return None
        with quiet_stdout():
            highs = highspy.Highs()
            highs.setOptionValue("output_flag", False)
            highs.setOptionValue("threads", 1)
            highs.setOptionValue("time_limit", seconds)
            highs.setOptionValue("mip_rel_gap", gap)
            highs.setOptionValue("mip_abs_gap", 1e-9)
            highs.setOptionValue("mip_feasibility_tolerance", 1e-7)
            highs.setOptionValue("presolve_rule_off", _PROBING)
            highs.passModel(self._program)
            count = highs.getNumCol()
            costs = [0.0] * count
            for index, factor in zip(*_merged(terms), strict=True):
                costs[index] = factor
            highs.changeColsCost(count, list(range(count)), costs)
            for kept, limit in (*self._rows, *rows):
                indices, factors = _merged(kept)
                highs.addRow(-highspy.kHighsInf, limit, len(indices), indices, factors)
            if warm:
                self._offer_start(highs, highspy)
            self._stop_at(highs, highspy, self._clock() + seconds)
            highs.run()
        return self._answer(highs, highspy)

    def _stop_at(self, highs: Any, highspy: Any, end: float) -> None:
        """Interrupt HiGHS at a moment: by itself it looks at the clock too seldom."""
        kinds = highspy.cb.HighsCallbackType

        def interrupt(_kind: Any, _text: str, _out: Any, control: Any, _data: Any) -> None:
            if self._clock() > end:
                control.user_interrupt = True

        highs.setCallback(interrupt, None)
        highs.startCallback(kinds.kCallbackSimplexInterrupt)
        highs.startCallback(kinds.kCallbackMipInterrupt)

    def _offer_start(self, highs: Any, highspy: Any) -> None:
        if self._columns is not None:
            solution = highspy.HighsSolution()
            solution.col_value = list(self._columns)
            highs.setSolution(solution)
        elif self._start:
            highs.setSolution(
                len(self._start), list(self._start.keys()), list(self._start.values())
            )

    def _answer(self, highs: Any, highspy: Any) -> Answer | None:
        status = highs.getModelStatus()
        info = highs.getInfo()
        statuses = highspy.HighsModelStatus
        if status in (statuses.kInfeasible, statuses.kUnboundedOrInfeasible):
            raise NoSolutionError("the model has no solution")
        late = status in (statuses.kTimeLimit, statuses.kInterrupt)
        if not late and status not in (statuses.kOptimal, statuses.kModelEmpty):
            raise SolverFailedError(f"HiGHS ended with {highs.modelStatusToString(status)}")
        value = info.objective_function_value
        if late and (info.primal_solution_status != 2 or abs(value) >= _INFINITE):
            return None
        columns = list(highs.getSolution().col_value)
        bound = value if status == statuses.kModelEmpty else info.mip_dual_bound
        if status == statuses.kOptimal and info.mip_gap <= 1e-9:
            bound = value
        return Answer(value, bound, columns, not late)


def _worth(terms: Terms, columns: Sequence[float]) -> float:
    return math.fsum(factor * columns[variable.index] for variable, factor in terms)


def _merged(terms: Terms) -> tuple[list[int], list[float]]:
    merged: dict[int, float] = {}
    for variable, factor in terms:
        merged[variable.index] = merged.get(variable.index, 0.0) + factor
    return list(merged), list(merged.values())
