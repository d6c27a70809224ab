"""`events`, `story`, `snapshot`, `top`: what happened and what is."""

import json
import time
from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, console_for_people, show, table, to_yaml
from colchis.client.http import Client
from colchis.model.resources import CPUS, approximate_memory


def register(app: typer.Typer) -> None:
    app.command("events")(events)
    app.command("story")(story)
    app.command("snapshot")(snapshot)
    app.command("top")(top)


def events(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")] = False,
    since: Annotated[int, typer.Option(help="The number of the first event.", min=0)] = 0,
    last: Annotated[
        int | None, typer.Option("-n", "--last", help="Only this many of them.", min=0)
    ] = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Print what happened in the cluster; with -f -o json a line for each event."""
    with client(connection) as master:
        found: list[dict[str, Any]] = []
        if not follow or last is not None:
            found, since = _until_now(master, since)
            found = found[max(0, len(found) - last) :] if last is not None else found
        if not follow:
            show(output, {"events": found}, [_table(found)])
            return
        for event in chain(found, master.follow_events(since)):
            print(_line(event, output), flush=True)


def _until_now(master: Client, since: int) -> tuple[list[dict[str, Any]], int]:
    """All events kept, and the number of the first to come."""
    found: list[dict[str, Any]] = []
    while True:
        page = master.events(since)
        since = page["next"]
        if not page["events"]:
            return found, since
        found += page["events"]


def _line(event: dict[str, Any], output: Output) -> str:
    match output:
        case Output.JSON:
            return json.dumps(event, ensure_ascii=False)
        case Output.YAML:
            return "---\n" + to_yaml(event).rstrip("\n")
        case Output.TABLE:
            return "  ".join(str(cell) for cell in _row(event) if cell is not None)


def _row(event: dict[str, Any]) -> tuple[Any, ...]:
    moment = datetime.fromtimestamp(event["time"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    subject = event.get("container") or event.get("app") or event.get("node")
    return (moment, event["seq"], event["event"], subject, event.get("text") or None)


def _table(found: Iterable[dict[str, Any]]) -> Table:
    return table(("TIME", "SEQ", "EVENT", "OF", "TEXT"), (_row(event) for event in found))


def story(
    ident: Annotated[
        str, typer.Argument(help="An app, container, node, task (JOB/STAGE/INDEX) or event id.")
    ],
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Say why something came about, step by step."""
    with client(connection) as master:
        steps = master.story(ident)
    rows = (
        (datetime.fromtimestamp(step["time"]).astimezone().strftime("%H:%M:%S"), step["text"])
        for step in steps
    )
    show(output, {"story": steps}, [table(("TIME", "WHAT"), rows)])


def snapshot(output: OutputOption = Output.YAML, connection: ConnectionOption = None) -> None:
    """Print the cluster as a file that `plan --cluster` and `explain --cluster` read."""
    with client(connection) as master:
        found = master.snapshot()
    show(Output.YAML if output is Output.TABLE else output, found, ())


def top(
    interval: Annotated[
        float, typer.Option(help="Seconds between looks.", min=0.1, max=86_400)
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look and end.")] = False,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Show what nodes and containers use, again and again."""
    with client(connection) as master:
        first = _figures(master.nodes(), master.apps())
        if once or output is not Output.TABLE:
            show(output, first, _figure_tables(first))
            return
        with Live(console=console_for_people(), auto_refresh=False, screen=True) as live:
            while True:
                figures = _figures(master.nodes(), master.apps())
                live.update(Group(*_figure_tables(figures)), refresh=True)
                time.sleep(interval)


def _figures(nodes: list[dict[str, Any]], apps: list[dict[str, Any]]) -> dict[str, Any]:
    containers = [c for app in apps for c in app["containers"] if c.get("usage")]
    containers.sort(key=lambda c: -c["usage"]["memory"])
    return {"nodes": nodes, "containers": containers}


def _figure_tables(figures: dict[str, Any]) -> list[Table]:
    nodes = table(
        ("NODE", "STATE", "CORES BUSY", "OF", "MEMORY", "HEARTBEAT"),
        (
            (
                n["node"],
                n["state"],
                f"{n['usage']['cpus_used']:.2f}" if n["usage"] else None,
                f"{n['capacity'].get(CPUS, 0) / 1000:g}",
                approximate_memory(n["usage"]["memory_used"]) if n["usage"] else None,
                None if n["heartbeat_age"] is None else f"{n['heartbeat_age']:.1f} s ago",
            )
            for n in figures["nodes"]
        ),
    )
    containers = table(
        ("CONTAINER", "NODE", "STATE", "CPU", "MEMORY", "PROCESSES"),
        (
            (
                c["container"],
                c.get("node"),
                c["state"],
                f"{c['usage']['cpu_seconds']:.1f} s",
                approximate_memory(c["usage"]["memory"]),
                c["usage"]["pids"],
            )
            for c in figures["containers"]
        ),
    )
    return [nodes, containers]
