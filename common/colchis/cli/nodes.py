"""`node list|drain|undrain`: the hosts."""

from collections.abc import Iterable
from typing import Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, say, show, table
from colchis.cli.targets import NodeArgument
from colchis.cli.waiting import TimeoutOption, WaitOption, wait_until
from colchis.client.http import Client
from colchis.errors import ColchisError
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


def drain(
    node: NodeArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300.0,
    connection: ConnectionOption = None,
) -> None:
    """Place nothing new on a node and move what runs there elsewhere."""
    with client(connection) as master:
        master.drain(node)
        if not wait:
            say(f"{node}: draining")
            return
        if not wait_until(lambda: not _containers(master, node), timeout):
            left = _stay(master, node)
            raise ColchisError("\n".join([f"{node} is not empty after {timeout:g} s", *left]))
    say(f"{node}: drained")


def _containers(master: Client, node: str) -> int:
    return sum(found["containers"] for found in master.nodes() if found["node"] == node)


def _stay(master: Client, node: str) -> list[str]:
    """What is still on a node, and why."""
    return [
        ": ".join([f"{c['container']} is {c['state']}", *c["reasons"]])
        for app in master.apps()
        for c in app["containers"]
        if c["node"] == node and c["state"] != "ended"
    ]


def undrain(node: NodeArgument, connection: ConnectionOption = None) -> None:
    """Use a drained node again."""
    with client(connection) as master:
        master.undrain(node)
    say(f"{node}: in use")
