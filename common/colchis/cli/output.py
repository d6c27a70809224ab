"""Printing for people and for programs."""

import enum
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table


class Output(enum.StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="Print a table, or JSON or YAML for programs.")
]


def to_yaml(data: Any) -> str:
    """Block style, keys in the order given."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096))


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice, instead of referring to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def show(output: Output, data: Any, tables: Iterable[Table | str]) -> None:
    """Print ``data`` as JSON or YAML, or else ``tables`` one after another."""
    match output:
        case Output.JSON:
            print(json.dumps(data, ensure_ascii=False))
        case Output.YAML:
            print(to_yaml(data), end="")
        case Output.TABLE:
            console = console_for_people()
            for table in tables:
                console.print(
                    table, markup=False, highlight=False, soft_wrap=isinstance(table, str)
                )


def console_for_people(*, stderr: bool = False) -> Console:
    """As wide as the terminal; where there is none, wide enough that nothing is cut."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> Table:
    """A plain table; None is printed as a dash, long cells are folded and never cut."""
    made = Table(*(), title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*("-" if cell is None else str(cell) for cell in row))
    return made


def say(text: str) -> None:
    """A line for people on standard error, out of the way of ``-o json``."""
    print(text, file=sys.stderr, flush=True)
