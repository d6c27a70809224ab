"""Reading typed fields out of a tree, noting every problem on the way.

A getter that finds something wrong notes it and returns its default, so that reading goes on and
the next mistake is found as well; what was read is of use only if the report is empty.
"""

import difflib
import enum
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from colchis.errors import InputError, Problem
from colchis.model.resources import format_memory, parse_cpus, parse_memory
from colchis.specs.tree import Entry, Place, Value, from_plain, join

IDENTIFIER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
MAX_NAME = 100
MAX_CPUS = 1_000_000
MAX_MEMORY = 2**60
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

E = TypeVar("E", bound=enum.Enum)


@dataclass(slots=True)
class Report:
    """The problems found so far in one file."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, place: Place, path: str, message: str) -> None:
        self.problems.append(Problem(self.file, place.line, place.column, path, message))

    def check(self) -> None:
        """Raises InputError if anything is wrong."""
        if self.problems:
            raise InputError(self.problems)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A value, the path that leads to it, and where to note what is wrong with it."""

    value: Value
    path: str
    report: Report

    @classmethod
    def of(cls, data: object, path: str, report: Report) -> "Cursor":
        """At plain data, as JSON gives."""
        return cls(from_plain(data, path, report.file, report.problems), path, report)

    def fail(self, message: str) -> None:
        self.report.add(self.value.place, self.path, message)

    def fail_inside(self, offset: int, message: str) -> None:
        """A problem at a character of this text, with its column where that can be told."""
        content = self.value.content
        if content:
            place = Place(self.value.place.line, content + offset)
            self.report.add(place, self.path, message)
        else:
            self.fail(f"{message} (character {offset + 1} of the text)")

    def found(self) -> str:
        """What stands here, in words."""
        data = self.value.data
        if isinstance(data, dict):
            return "a mapping"
        if isinstance(data, list):
            return "a list"
        if data is None:
            return "nothing"
        if isinstance(data, str):
            return f"the text {shorten(data)!r}"
        return shorten(self.value.text) or repr(data)

    def expected(self, what: str) -> None:
        self.fail(f"expected {what}, found {self.found()}")

    def fields(
        self, what: str, required: Collection[str], optional: Collection[str] = ()
    ) -> "Fields":
        """The keys of this mapping; unknown and missing ones are noted, a misspelt one once."""
        fields = self._open(what, required, optional, shortest=1)
        fields.refuse_others()
        return fields

    def open_fields(
        self, what: str, required: Collection[str], optional: Collection[str] = ()
    ) -> "Fields":
        """Like ``fields``, but other keys are left to the caller, who may take them for what they
        say where they come near to a missing one that is short (``gpus`` to ``cpus``)."""
        return self._open(what, required, optional, shortest=5)

    def _open(
        self, what: str, required: Collection[str], optional: Collection[str], *, shortest: int
    ) -> "Fields":
        entries = self.value.data
        if self.value.broken:
            return Fields(self, {}, (*required, *optional))
        if not isinstance(entries, dict):
            self.expected(f"{what}, a mapping with {_listed(required or optional)}")
            return Fields(self, {}, (*required, *optional))
        fields = Fields(self, entries, (*required, *optional))
        unknown = [key for key in entries if key not in fields.known]
        for name in required:
            entry = entries.get(name)
            absent = entry is None or entry.value.data is None
            misspelt = len(name) >= shortest and any(suggest(key, (name,)) for key in unknown)
            if absent and not misspelt:
                self.report.add(self.value.place, join(self.path, name), f"missing in {what}")
        return fields

    def get(self, name: str) -> "Cursor | None":
        """The value of ``name`` if this is a mapping that has it."""
        data = self.value.data
        if not isinstance(data, dict) or name not in data:
            return None
        return Cursor(data[name].value, join(self.path, name), self.report)

    def entries(self, what: str) -> "dict[str, Cursor]":
        """The values of a mapping with keys of the user's choice."""
        data = self.value.data
        if not isinstance(data, dict):
            self.expected(what)
            return {}
        return {
            key: Cursor(entry.value, join(self.path, key), self.report)
            for key, entry in data.items()
        }

    def items(self, what: str) -> "list[Cursor]":
        data = self.value.data
        if not isinstance(data, list):
            self.expected(what)
            return []
        return [
            Cursor(item, f"{self.path}[{index}]", self.report) for index, item in enumerate(data)
        ]

    def text(self, what: str, default: str = "") -> str:
        data = self.value.data
        if isinstance(data, str):
            return data
        if data is None or isinstance(data, list | dict):
            self.expected(what)
        else:
            self.fail(
                f"expected {what}, found {self.found()}; "
                f'to mean the text, write it in quotes: "{self.value.text}"'
            )
        return default

    def literal(self, what: str, *, flags: bool = False) -> str:
        """Text, or a number as it is written (``flags``: true and false as well)."""
        data = self.value.data
        if isinstance(data, bool):
            if flags:
                return "true" if data else "false"
        elif isinstance(data, int | float):
            return self.value.text
        text = self.text(what)
        if "\0" in text:
            self.fail(f"expected {what}, found a NUL character in it")
        return text

    def identifier(self, what: str) -> str:
        text = self.text(what)
        if text:
            self.check_identifier(text, what)
        elif isinstance(self.value.data, str):
            self.fail(f"expected {what}, found an empty text")
        return text

    def check_identifier(self, text: str, what: str) -> bool:
        if IDENTIFIER.fullmatch(text) and len(text) <= MAX_NAME:
            return True
        self.fail(
            f"{shorten(text)!r} cannot be {what}; use at most {MAX_NAME} letters, digits, "
            "'_', '.' and '-', with a letter, digit or '_' first and last"
        )
        return False

    def whole(self, what: str, low: int, high: int, default: int = 0) -> int:
        data = self.value.data
        if isinstance(data, bool) or not isinstance(data, int) or not low <= data <= high:
            self.expected(f"{what}, a whole number from {low} to {high}")
            return default
        return data

    def number(self, what: str, low: float, high: float = 1e9, default: float = 0.0) -> float:
        data = self.value.data
        if (
            isinstance(data, bool)
            or not isinstance(data, int | float)
            or not math.isfinite(data)
            or not low <= data <= high
        ):
            self.expected(f"{what}, a number from {low:g} to {high:g}")
            return default
        return float(data)

    def flag(self, what: str, default: bool = False) -> bool:
        data = self.value.data
        if not isinstance(data, bool):
            self.expected(f"{what}: true or false")
            return default
        return data

    def choice(self, what: str, choices: type[E], default: E) -> E:
        data = self.value.data
        for member in choices:
            if data == member.value:
                return member
        names = [str(member.value) for member in choices]
        hint = suggest(data, names) if isinstance(data, str) else ""
        self.fail(
            f"expected {what}: {_listed(names, 'or')}, found {self.found()}{did_you_mean(hint)}"
        )
        return default

    def cpus(self) -> int:
        """Thousandths of a core."""
        try:
            amount = parse_cpus(self.value.data)
        except ValueError as error:
            self.fail(str(error))
            return 0
        if amount > MAX_CPUS * 1000:
            self.fail(f"{self.value.text} cores are more than any node has; at most {MAX_CPUS}")
        return amount

    def memory(self) -> int:
        """Bytes."""
        try:
            amount = parse_memory(self.value.data)
        except ValueError as error:
            self.fail(str(error))
            return 0
        if amount > MAX_MEMORY:
            self.fail(
                f"{self.value.text} is more memory than any node has; "
                f"at most {format_memory(MAX_MEMORY)}"
            )
        return amount

    def duration(self, what: str) -> float:
        """Seconds."""
        try:
            return parse_duration(self.value.data)
        except ValueError:
            self.expected(f"{what}, a time longer than 0 such as 90s, 30m, 2h or 1.5")
            return 0.0


class Fields:
    """The entries of a mapping whose keys are known beforehand."""

    def __init__(self, at: Cursor, entries: Mapping[str, Entry], known: Collection[str]) -> None:
        self.at = at
        self.known = known
        self._entries = entries

    def get(self, name: str) -> Cursor | None:
        """The value of ``name``; None where it is absent or nothing (null)."""
        entry = self._entries.get(name)
        if entry is None or entry.value.data is None:
            return None
        return Cursor(entry.value, join(self.at.path, name), self.at.report)

    def others(self) -> dict[str, Cursor]:
        """The entries whose keys are not known, placed at their keys."""
        return {
            name: Cursor(
                entry.value,
                join(self.at.path, name),
                self.at.report,
            )
            for name, entry in self._entries.items()
            if name not in self.known
        }

    def refuse(self, name: str, hint: str = "") -> None:
        """Note that ``name`` is no key of this mapping."""
        hint = hint or suggest(name, self.known)
        right = did_you_mean(hint) or f"; known are {_listed(self.known)}"
        self.at.report.add(
            self._entries[name].key,
            join(self.at.path, name),
            f"unknown key {shorten(name)!r}{right}",
        )

    def refuse_others(self) -> None:
        for name in self.others():
            self.refuse(name)


def parse_duration(value: object) -> float:
    """Seconds meant by ``2h``, ``1h30m``, ``90s``, ``500ms`` or a number. Raises ValueError."""
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and len(value) < 100 and _DURATION.fullmatch(value):
        seconds = sum(
            float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(value)
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"{value!r} is no duration; write 90s, 30m, 2h or a number of seconds")
    return seconds


def suggest(word: str, known: Collection[str]) -> str:
    """The known word that was probably meant, empty where none comes close."""
    close = difflib.get_close_matches(word.lower(), known, 1, 0.7)
    return close[0] if close else ""


def did_you_mean(word: str) -> str:
    return f"; did you mean {word!r}?" if word else ""


def shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _listed(words: Collection[str], last: str = "and") -> str:
    *most, final = words
    return f"{', '.join(most)} {last} {final}" if most else final
