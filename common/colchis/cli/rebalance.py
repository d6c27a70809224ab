"""`rebalance`: move what runs to where it is better placed."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, show, table


def register(app: typer.Typer) -> None:
    app.command("rebalance")(rebalance)


def rebalance(
    plan: Annotated[bool, typer.Option("--plan", help="Only show the moves.")] = False,
    max_moves: Annotated[
        int, typer.Option("--max-moves", help="No more than so many.", min=1, max=10_000)
    ] = 10,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Move running services so that fewer rules are missed, each created before it is deleted."""
    with client(connection) as master:
        found = master.rebalance(max_moves, plan=plan)
    show(output, found, _tables(found, plan))


def _tables(found: dict[str, Any], plan: bool) -> Iterable[Table | str]:
    moves = found["moves"]
    if not moves:
        yield f"nothing to move; {_misses(found['violations_before'])}"
        return
    yield table(
        ("CONTAINER", "FROM", "TO", "WHY"),
        ((m["container"], m["from"], m["to"], m["reason"]) for m in moves),
    )
    before, after = found["violations_before"], found["violations_after"]
    done = "would be made" if plan else "begun"
    count = f"{len(moves)} move{'' if len(moves) == 1 else 's'}"
    yield f"\n{count} {done}; {_misses(before)} now, {after} afterwards"


def _misses(count: int) -> str:
    return f"rules are missed {count} time{'' if count == 1 else 's'}"
