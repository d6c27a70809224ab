"""Reading the task scheduler's options from a scenario, or from a master's settings."""

from dataclasses import fields, replace
from typing import Any

from colchis.errors import InputError
from colchis.specs.cursor import Cursor, Fields
from colchis_master.tasks.options import Options

OPTIONS = tuple(option.name for option in fields(Options))


def read_options(form: Fields, default: Options) -> Options:
    """The options among the keys of a mapping; what is wrong is noted at its place."""
    values: dict[str, Any] = {}
    for name in OPTIONS:
        if (value := form.get(name)) is None:
            continue
        before = len(value.report.problems)
        read = _option(name, value)
        if len(value.report.problems) > before:
            continue
        try:
            replace(default, **values | {name: read})
        except InputError as error:
            value.expected(f"a value of {error.problems[0].message.removeprefix('must be ')}")
        else:
            values[name] = read
    return replace(default, **values)


def _option(name: str, at: Cursor) -> float:
    if name == "max_suspensions":
        return at.whole("a number of suspensions", 1, 10**9, 1)
    return at.memory() if name == "max_suspended_memory" else at.number("a number", 0)
