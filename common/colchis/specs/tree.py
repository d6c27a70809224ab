"""Values that know where they stand, from YAML or from plain data.

YAML is read event by event (libyaml's parser, by PyYAML) and resolved by the core schema of
YAML 1.2: ``yes`` and ``12:30`` are text. JSON is read as the YAML that it is, save for one thing
that libyaml refuses, the pairs of escapes by which JSON writes characters beyond U+FFFF; text
with these has no places.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from colchis.errors import Problem

Scalar: TypeAlias = bool | int | float | str | None
MAX_DEPTH = 100
MAX_VALUES = 5_000_000
"""So many values may a document stand for once its aliases are followed."""

_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_CORE = ("str", "int", "float", "bool", "null", "seq", "map", "merge")
_TAGS = (None, "!", *(f"tag:yaml.org,2002:{name}" for name in _CORE))
"""Of the core schema: what is tagged otherwise would be read as something that it is not."""
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column from 1 on; 0 where there are none."""

    line: int = 0
    column: int = 0


NOWHERE = Place()


@dataclass(slots=True)
class Value:
    """A scalar, a list of values, or a mapping from text to entries.

    ``text`` is a scalar as written; ``content`` is the column at which that text begins on
    ``place.line``, 0 where its characters do not stand there one to one. ``broken`` tells of a
    fault in it that has been noted and makes its keys meaningless.
    """

    data: "Scalar | list[Value] | dict[str, Entry]"
    place: Place = NOWHERE
    text: str = ""
    content: int = 0
    size: int = 1
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A value in a mapping and where its key stands."""

    key: Place
    value: Value


def read_yaml(text: str, file: str, problems: list[Problem]) -> list[Value]:
    """The documents in ``text``, empty ones left out; ``problems`` gets what is wrong with it.

    Documents that are whole are given even if there are problems, so that they can be searched
    for more.
    """
    text = text.removeprefix("\ufeff")
    match = _NOT_TEXT.search(text)
    if match is None:
        if _PAIR.search(text):
            try:
                return [from_plain(json.loads(text), "", file, problems)]
            except (ValueError, RecursionError):
                pass
        return _Builder(text, file, problems).build()
    before = text[: match.start()]
    line, column = before.count("\n") + 1, match.start() - before.rfind("\n")
    message = f"the character U+{ord(match[0]):04X} may not stand in YAML"
    problems.append(Problem(file, line, column, "", message))
    return []


def from_plain(data: object, field: str, file: str, problems: list[Problem]) -> Value:
    """A tree without places from what JSON gives; ``problems`` gets what JSON cannot give."""
    return _plain(data, field, file, problems, MAX_DEPTH)


def _plain(data: object, path: str, file: str, problems: list[Problem], depth: int) -> Value:
    if depth == 0:
        problems.append(Problem(file, 0, 0, path, f"nested more than {MAX_DEPTH} deep"))
    elif data is None or isinstance(data, bool | int | float | str):
        return Value(data, text="" if data is None else str(data))
    elif isinstance(data, list | tuple):
        return Value(
            [
                _plain(item, f"{path}[{index}]", file, problems, depth - 1)
                for index, item in enumerate(data)
            ]
        )
    elif isinstance(data, dict):
        entries = {}
        for key, item in data.items():
            if isinstance(key, str):
                child = _plain(item, join(path, key), file, problems, depth - 1)
                entries[key] = Entry(NOWHERE, child)
            else:
                problems.append(Problem(file, 0, 0, path, f"the key {key!r} must be text"))
        return Value(entries)
    else:
        problems.append(Problem(file, 0, 0, path, f"{type(data).__name__} has no meaning here"))
    return Value(None)


def join(path: str, key: str) -> str:
    """The field path of ``key`` below ``path``."""
    return f"{path}.{key}" if path else key


class _GiveUpError(Exception):
    """Reading on is of no use; the reason has been noted."""


class _Open:
    """A list or mapping whose end has not been read."""

    def __init__(self, value: Value, path: str, anchor: str | None) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.key: Value | None = None
        self.merges: list[Value] = []


class _Builder:
    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        self._text = text
        self._file = file
        self._problems = problems
        self._documents: list[Value] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Value | None] = {}

    def build(self) -> list[Value]:
        try:
            for event in yaml.parse(self._text, Loader=yaml.CSafeLoader):
                self._take(event)
        except _GiveUpError:
            pass
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else NOWHERE
            context = f" {error.context}" if error.context else ""
            self._fault(place, "", f"this is no YAML: {error.problem}{context}")
        except yaml.YAMLError as error:
            self._fault(NOWHERE, "", f"this is no YAML: {error}")
        return self._documents

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._close(self._scalar(event))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}

    def _scalar(self, event: Any) -> Value:
        place = _place(event)
        text: str = event.value
        plain = event.style in (None, "") and event.tag not in _STRING_TAGS
        self._check_tag(event)
        start, end = event.start_mark.index, event.end_mark.index
        found = self._text.find(text, start, end) if text and "\n" not in text else -1
        on_line = found >= 0 and "\n" not in self._text[start:found]
        content = place.column + found - start if on_line else 0
        value = Value(_resolve(text) if plain else text, place, text, content)
        self._anchor(event, value)
        return value

    def _begin(self, event: Any) -> None:
        self._check_tag(event)
        value = Value({} if isinstance(event, yaml.MappingStartEvent) else [], _place(event))
        if len(self._stack) >= MAX_DEPTH:
            self._fault(value.place, self._path(), f"nested more than {MAX_DEPTH} deep")
            raise _GiveUpError
        self._stack.append(_Open(value, self._path(), event.anchor))
        if event.anchor:
            self._anchors[event.anchor] = None

    def _end(self) -> None:
        opened = self._stack.pop()
        value = opened.value
        if opened.anchor:
            self._anchors[opened.anchor] = value
        if isinstance(value.data, dict):
            for merged in opened.merges:
                self._merge(value, value.data, merged, opened.path)
        self._close(value)

    def _merge(self, value: Value, into: "dict[str, Entry]", merged: Value, path: str) -> None:
        sources = merged.data if isinstance(merged.data, list) else [merged]
        for source in sources:
            if isinstance(source.data, dict):
                for key, entry in source.data.items():
                    if key not in into:
                        into[key] = entry
                        value.size += entry.value.size
            else:
                self._fault(merged.place, path, "<< merges a mapping or a list of mappings")

    def _alias(self, event: Any) -> None:
        place = _place(event)
        value = self._anchors.get(event.anchor)
        if value is None:
            known = event.anchor in self._anchors
            what = "stands within what it names" if known else "names nothing before it"
            self._fault(place, self._path(), f"the alias *{event.anchor} {what}")
            value = Value(None, place)
        self._close(value)

    def _close(self, value: Value) -> None:
        """A whole value has been read: put it where it belongs."""
        if not self._stack:
            if value.data is not None:
                self._documents.append(value)
            return
        opened = self._stack[-1]
        opened.value.size += value.size
        if opened.value.size > MAX_VALUES:
            self._fault(value.place, opened.path, f"stands for more than {MAX_VALUES} values")
            raise _GiveUpError
        data = opened.value.data
        if isinstance(data, list):
            data.append(value)
        elif opened.key is None:
            opened.key = value
        elif isinstance(data, dict):
            self._entry(opened, data, opened.key, value)
            opened.key = None

    def _entry(self, opened: _Open, data: dict[str, Entry], key: Value, value: Value) -> None:
        if isinstance(key.data, list | dict):
            message = "a key must be text; if this is a constraint, write it in quotes"
            self._fault(key.place, opened.path, message)
            opened.value.broken = True
        elif key.text == _MERGE:
            opened.merges.append(value)
        elif key.text in data:
            first = data[key.text].key
            self._fault(
                key.place,
                join(opened.path, key.text),
                f"the key {key.text!r} stands twice, first in line {first.line}; keep one",
            )
        else:
            data[key.text] = Entry(key.place, value)

    def _path(self) -> str:
        if not self._stack:
            return ""
        opened = self._stack[-1]
        if isinstance(opened.value.data, list):
            return f"{opened.path}[{len(opened.value.data)}]"
        return join(opened.path, opened.key.text) if opened.key else opened.path

    def _anchor(self, event: Any, value: Value) -> None:
        if event.anchor:
            self._anchors[event.anchor] = value

    def _check_tag(self, event: Any) -> None:
        if event.tag not in _TAGS:
            message = f"the YAML tag {event.tag} has no meaning here"
            self._fault(_place(event), self._path(), message)

    def _fault(self, place: Place, path: str, message: str) -> None:
        self._problems.append(Problem(self._file, place.line, place.column, path, message))


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _resolve(text: str) -> Scalar:
    """What a plain scalar means by the core schema (YAML 1.2, section 10.3)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
