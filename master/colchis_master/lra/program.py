"""A linear program in the making: variables without names, rows, and expressions with bounds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pulp


@dataclass(frozen=True)
class Linear:
    """A linear expression with bounds on what it can come to."""

    terms: tuple[tuple[pulp.LpVariable, float], ...] = ()
    constant: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def plus(self, other: "Linear") -> "Linear":
        return Linear(
            self.terms + other.terms,
            self.constant + other.constant,
            self.low + other.low,
            self.high + other.high,
        )


def constant(value: float) -> Linear:
    return Linear((), value, value, value)


class OutOfTimeError(Exception):
    """The time for building a program is over."""


class Rows:
    """A PuLP program to which variables and rows are added, until it is ``late``."""

    def __init__(self, late: Callable[[], bool]) -> None:
        self._late = late
        self.program = pulp.LpProblem("round", pulp.LpMinimize)
        self.variables: list[pulp.LpVariable] = []
        """Each has its place in this list as its ``index``."""

    def _variable(self, most: float | None, category: str) -> pulp.LpVariable:
        index = len(self.variables)
        if index % 64 == 63 and self._late():
            raise OutOfTimeError
        variable = self.program.add_variable(f"v{index}", 0, most, category)
        variable.index = index
        self.variables.append(variable)
        return variable

    def integer(self, most: int) -> pulp.LpVariable:
        return self._variable(most, pulp.LpInteger)

    def binary(self) -> pulp.LpVariable:
        return self._variable(1, pulp.LpInteger)

    def real(self, most: float | None = None) -> pulp.LpVariable:
        return self._variable(most, pulp.LpContinuous)

    def _row(
        self, terms: Iterable[tuple[pulp.LpVariable, float]], sense: int, limit: float
    ) -> None:
        expression = pulp.LpAffineExpression()
        for variable, factor in terms:
            expression.addterm(variable, factor)
        if not len(expression):
            if (sense == pulp.LpConstraintGE and limit > 0) or (
                sense == pulp.LpConstraintLE and limit < 0
            ):
                raise ValueError("a row without variables cannot be kept")
            return
        self.program.addConstraint(pulp.LpConstraint(expression, sense, None, limit))

    def at_most(self, terms: Iterable[tuple[pulp.LpVariable, float]], limit: float) -> None:
        self._row(terms, pulp.LpConstraintLE, limit)

    def at_least(self, terms: Iterable[tuple[pulp.LpVariable, float]], limit: float) -> None:
        self._row(terms, pulp.LpConstraintGE, limit)

    def equal(self, terms: Iterable[tuple[pulp.LpVariable, float]], limit: float) -> None:
        self._row(terms, pulp.LpConstraintEQ, limit)
