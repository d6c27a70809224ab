"""`node list|drain|undrain`: the hosts."""

from collections.abc import Iterable
from typing import Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, say, show, table
from colchis.cli.targets import NodeArgument
from colchis.model.resources import CPUS, MEMORY, approximate_memory


def register(app: typer.Typer) -> None:
    node = typer.Typer(no_args_is_help=True, help="List, drain and undrain nodes.")
    node.command("list")(list_nodes)
    node.command("drain")(drain)
    node.command("undrain")(undrain)
    app.add_typer(node, name="node")


def list_nodes(output: OutputOption = Output.TABLE, connection: ConnectionOption = None) -> None:
    """Show every node: its state, what is free, and its groups."""
    with client(connection) as master:
        nodes = master.nodes()
    show(output, {"nodes": nodes}, [_table(nodes)])


def _table(nodes: Iterable[dict[str, Any]]) -> Table:
    return table(
        ("NODE", "STATE", "FREE CPUS", "FREE MEMORY", "CONTAINERS", "GROUPS", "NOT ENFORCED"),
        (
            (
                node["node"],
                node["state"],
                f"{_amount(node['free'], CPUS) / 1000:g}/"
                f"{_amount(node['capacity'], CPUS) / 1000:g}",
                f"{approximate_memory(_amount(node['free'], MEMORY))}/"
                f"{approximate_memory(_amount(node['capacity'], MEMORY))}",
                node["containers"],
                " ".join(f"{g}={','.join(s)}" for g, s in node["groups"].items()),
                "; ".join(node["unenforced"]) or None,
            )
            for node in nodes
        ),
    )


def _amount(amounts: dict[str, int], name: str) -> int:
    return amounts.get(name, 0)


def drain(node: NodeArgument, connection: ConnectionOption = None) -> None:
    """Place nothing new on a node and move what runs there elsewhere."""
    with client(connection) as master:
        master.drain(node)
    say(f"{node}: draining")


def undrain(node: NodeArgument, connection: ConnectionOption = None) -> None:
    """Use a drained node again."""
    with client(connection) as master:
        master.undrain(node)
    say(f"{node}: in use")
