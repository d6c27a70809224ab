"""Errors that reach a person: what is wrong, where, and what would be right."""

from collections.abc import Sequence
from dataclasses import dataclass


class ColchisError(Exception):
    """Root of the errors that Colchis raises for its callers to handle."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with some input.

    ``line`` and ``column`` count from 1; 0 means that the input has no such position.
    ``field`` is the dotted path of the value, empty where there is none.
    """

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        parts = [part for part in (place, self.field) if part]
        return ": ".join([*parts, self.message])


class IllegalTransitionError(ColchisError):
    """A step that a lifecycle's table does not have; nothing was changed."""


class InputError(ColchisError):
    """Bad input; carries every problem that was found, not the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def of(cls, message: str, *, file: str = "", field: str = "") -> "InputError":
        """An error with a single problem that has no line."""
        return cls([Problem(file, 0, 0, field, message)])
