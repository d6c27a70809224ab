"""Reading YAML mappings field by field, with every mistake and its place noted."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from colchis.errors import InputError, Problem

T = TypeVar("T")
Place = tuple[int, int]


class Notes:
    """The mistakes found in one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def add(self, place: Place, field: str, message: str) -> None:
        """Note a mistake at a line and column."""
        line, column = place
        self.problems.append(Problem(self.file, line, column, field, message))

    def check(self) -> None:
        """Raises InputError if anything was noted."""
        if self.problems:
            raise InputError(self.problems)


def load(path: Path) -> object:
    """The file's one YAML document. Raises InputError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return YAML(typ="rt", pure=True).load(text)
    except OSError as error:
        raise InputError.of(f"cannot be read: {error.strerror}", file=str(path)) from None
    except UnicodeDecodeError:
        raise InputError.of("is not UTF-8 text", file=str(path)) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        message = f"is no YAML: {error.problem or error.context}"
        raise InputError([Problem(str(path), line, column, "", message)]) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError.of(f"is no YAML: {error}", file=str(path)) from None


class Form:
    """One mapping of the input; what is wrong with it goes to the notes."""

    def __init__(self, notes: Notes, value: object, place: Place, path: str, known: str) -> None:
        self.notes, self.place, self.path = notes, place, path
        self.names = known.split()
        self.map: CommentedMap = CommentedMap()
        if not isinstance(value, CommentedMap):
            notes.add(place, path, f"must be a mapping with {', '.join(self.names)}")
            return
        self.map = value
        for key in value:
            if key not in self.names:
                line, column = value.lc.key(key)
                notes.add(
                    (line + 1, column + 1),
                    self.field(str(key)),
                    f"is not known here; known are {', '.join(self.names)}",
                )

    def field(self, name: str) -> str:
        """The dotted path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def at(self, name: str) -> Place:
        """Where a field's value is, or where the mapping is that lacks it."""
        if name not in self.map:
            return self.place
        line, column = self.map.lc.value(name)
        return line + 1, column + 1

    def wrong(self, name: str, message: str) -> None:
        """Note a mistake in a field."""
        self.notes.add(self.at(name), self.field(name), message)

    def get(self, name: str, convert: Callable[[Any], T], default: T) -> T:
        """A field that may be left out."""
        if self.map.get(name) is None:
            return default
        try:
            return convert(self.map[name])
        except ValueError as error:
            self.wrong(name, str(error))
            return default

    def need(self, name: str, convert: Callable[[Any], T], stand_in: T) -> T:
        """A field that must be there; ``stand_in`` is returned, and never used, if it is wrong."""
        if self.map.get(name) is None:
            if self.map or isinstance(self.map, CommentedMap):
                self.notes.add(self.at(name), self.field(name), "is missing")
            return stand_in
        return self.get(name, convert, stand_in)

    def each(self, name: str, known: str) -> Iterator["Form"]:
        """The mappings of a list field."""
        value = self.map.get(name)
        if value is None:
            return
        if not isinstance(value, CommentedSeq):
            self.wrong(name, "must be a list")
            return
        for index, item in enumerate(value):
            line, column = value.lc.item(index)
            path = f"{self.field(name)}[{index}]"
            yield Form(self.notes, item, (line + 1, column + 1), path, known)

    def inner(self, name: str, known: str) -> "Form":
        """A mapping field that may be left out."""
        if self.map.get(name) is None:
            return Form(self.notes, CommentedMap(), self.place, self.field(name), known)
        return Form(self.notes, self.map[name], self.at(name), self.field(name), known)


def text(value: object) -> str:
    """A name. Raises ValueError for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a name, not {value!r}")
    return str(value)


def number(least: float = 0.0, most: float = math.inf) -> Callable[[object], float]:
    """Reads a finite number within bounds."""

    def convert(value: object) -> float:
        limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not least <= value <= most
        ):
            raise ValueError(f"must be a number, {limits}, not {value!r}")
        return float(value)

    return convert


def whole(least: int, most: int) -> Callable[[object], int]:
    """Reads a whole number within bounds."""

    def convert(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {value!r}")
        return int(value)

    return convert
