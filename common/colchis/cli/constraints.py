"""`constraint list|add|remove`: the rules in force."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, say, show, table
from colchis.cli.targets import RuleArgument
from colchis.cli.warnings import warn_of_groups
from colchis.model.parse import ConstraintError, parse_constraint


def register(app: typer.Typer) -> None:
    constraint = typer.Typer(no_args_is_help=True, help="List, add and remove rules.")
    constraint.command("list")(list_constraints)
    constraint.command("add")(add)
    constraint.command("remove")(remove)
    app.add_typer(constraint, name="constraint")


def list_constraints(
    output: OutputOption = Output.TABLE, connection: ConnectionOption = None
) -> None:
    """Show every rule in force, apps' and operator's, with how many containers miss it."""
    with client(connection) as master:
        constraints = master.constraints()
    show(output, {"constraints": constraints}, [_table(constraints)])


def _table(constraints: Iterable[dict[str, Any]]) -> Table:
    return table(
        ("NAME", "OF", "CONSTRAINT", "WEIGHT", "HARD", "EXPIRES", "MISSED BY"),
        (
            (
                c["name"],
                c["app"] or "operator",
                c["constraint"],
                f"{c['weight']:g}",
                "yes" if c["hard"] else "no",
                None if c["expires_in"] is None else f"in {c['expires_in']:.0f} s",
                c["violating"],
            )
            for c in constraints
        ),
    )


def add(
    constraint: Annotated[str, typer.Argument(help='Such as "{web, {web, 0, 1}, rack}".')],
    name: Annotated[str, typer.Option(help="To remove it by, and to read in reports.")] = "",
    weight: Annotated[float, typer.Option(min=0, max=1e9)] = 1.0,
    hard: Annotated[
        bool, typer.Option("--hard", help="Never to be broken by a placement.")
    ] = False,
    expires: Annotated[str, typer.Option(help="A lifetime, such as 2h.")] = "",
    connection: ConnectionOption = None,
) -> None:
    """Put an operator's rule in force for every container."""
    rule: dict[str, Any] = {"constraint": constraint, "weight": weight, "hard": hard}
    if name:
        rule["name"] = name
    if expires:
        rule["expires"] = expires
    with client(connection) as master:
        master.add_constraints([rule])
        parsed = parse_constraint(constraint)
        name = name or str(parsed)
        warn_of_groups([(name, parsed)], master)
    say(f"{name}: in force")


def remove(name: RuleArgument, connection: ConnectionOption = None) -> None:
    """Take an operator's rule out of force."""
    with client(connection) as master:
        if name not in {c["name"] for c in master.constraints() if c["app"] is None}:
            name = _canonical(name)
        master.remove_constraint(name)
    say(f"{name}: removed")


def _canonical(text: str) -> str:
    """The name of a rule without one, however its text was written."""
    try:
        return str(parse_constraint(text))
    except ConstraintError:
        return text
