"""One program in HiGHS: arrays in, the best found and a bound out."""

import contextlib
import ctypes
import importlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pulp
from numpy.typing import NDArray

from colchis_master.lra.families import Floats
from colchis_master.lra.program import Rows

Ints32 = NDArray[np.int32]
_INFINITE = 1e20
_BY_ROWS, _MINIMISE = 2, 1
_PROBING = 1 << 15
"""Presolve's probing: it takes long on choices among many, and does not look at the clock."""


class SolverFailedError(Exception):
    """HiGHS ended without a usable answer."""


class NoSolutionError(SolverFailedError):
    """No values keep all rows."""


@dataclass(frozen=True, slots=True)
class Program:
    """Columns with bounds, and rows as (column, factor) one after another, each row from its
    start."""

    lower: Floats
    upper: Floats
    integer: Ints32
    row_lower: Floats
    row_upper: Floats
    starts: Ints32
    indices: Ints32
    factors: Floats


@dataclass(frozen=True, slots=True)
class Sparse:
    """Factors of columns."""

    indices: Sequence[int]
    factors: Sequence[float]


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be minimised, with rows (at most a limit) and columns that are to be zero beside
    the program's; ``start`` are values to begin with, and ``gap`` that at which to stop."""

    costs: Sparse
    rows: Sequence[tuple[Sparse, float]]
    zero: Sequence[int]
    start: Sparse
    gap: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, minimised: ``bound`` is proven, ``value`` is that of ``columns``;
    ``finished`` unless time ran out before the gap asked for."""

    value: float
    bound: float
    columns: Sequence[float]
    finished: bool


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


def program_of(model: Rows) -> Program:
    """A model as arrays."""
    variables, rows = model.variables, model.program.constraints()
    starts: list[int] = []
    indices: list[int] = []
    factors: list[float] = []
    for row in rows:
        starts.append(len(indices))
        for variable, factor in row.items():
            if factor:
                indices.append(variable.index)
                factors.append(factor)
    return Program(
        _bounds((v.lowBound for v in variables), -math.inf),
        _bounds((v.upBound for v in variables), math.inf),
        np.array([v.cat == pulp.LpInteger for v in variables], dtype=np.int32),
        _bounds((row.getLb() for row in rows), -math.inf),
        _bounds((row.getUb() for row in rows), math.inf),
        np.array(starts, dtype=np.int32),
        np.array(indices, dtype=np.int32),
        np.array(factors, dtype=np.float64),
    )


def _bounds(values: Iterator[float | None], missing: float) -> Floats:
    return np.array([missing if value is None else value for value in values], dtype=np.float64)


def minimise(program: Program, ask: Ask, clock: Callable[[], float]) -> Answer | None:
    """The best found within the seconds, as far as HiGHS looks at the clock; None where nothing
    is. Raises NoSolutionError where nothing keeps all rows, SolverFailedError where HiGHS fails."""
    highspy = importlib.import_module("highspy")
    end = clock() + ask.seconds
    count = len(program.lower)
    costs = np.zeros(count)
    costs[list(ask.costs.indices)] = ask.costs.factors
    upper = program.upper.copy()
    upper[list(ask.zero)] = 0.0
    with quiet_stdout():
        highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("threads", 1)
        highs.setOptionValue("time_limit", ask.seconds)
        highs.setOptionValue("mip_rel_gap", ask.gap)
        highs.setOptionValue("mip_abs_gap", 1e-9)
        highs.setOptionValue("mip_feasibility_tolerance", 1e-7)
        highs.setOptionValue("presolve_rule_off", _PROBING)
        highs.passModel(
            count,
            len(program.row_lower),
            len(program.indices),
            _BY_ROWS,
            _MINIMISE,
            0.0,
            costs,
            program.lower,
            upper,
            program.row_lower,
            program.row_upper,
            program.starts,
            program.indices,
            program.factors,
            program.integer,
        )
        for row, limit in ask.rows:
            highs.addRow(-highspy.kHighsInf, limit, len(row.indices), row.indices, row.factors)
        _offer(highs, highspy, ask.start, count)
        _stop_at(highs, highspy, clock, end)
        highs.run()
    return _answer(highs, highspy)


def _offer(highs: Any, highspy: Any, start: Sparse, count: int) -> None:
    if len(start.indices) == count:
        solution = highspy.HighsSolution()
        solution.col_value = list(start.factors)
        highs.setSolution(solution)
    elif start.indices:
        highs.setSolution(len(start.indices), list(start.indices), list(start.factors))


def _stop_at(highs: Any, highspy: Any, clock: Callable[[], float], end: float) -> None:
    """Interrupt HiGHS at a moment: by itself it looks at the clock too seldom."""
    kinds = highspy.cb.HighsCallbackType

    def interrupt(_kind: Any, _text: str, _out: Any, control: Any, _data: Any) -> None:
        if clock() > end:
            control.user_interrupt = True

    highs.setCallback(interrupt, None)
    highs.startCallback(kinds.kCallbackSimplexInterrupt)
    highs.startCallback(kinds.kCallbackMipInterrupt)


def _answer(highs: Any, highspy: Any) -> Answer | None:
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
