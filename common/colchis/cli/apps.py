"""`run`, `status`, `logs`, `stop`, `suspend`, `resume`: the life of an app."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, console_for_people, say, show, table
from colchis.client.http import Client, Refusal
from colchis.errors import ColchisError, InputError
from colchis.model.cluster import ContainerId
from colchis.model.resources import approximate_memory
from colchis.specs import app_to_dict, read_apps

POLL = 0.2
"""Seconds between looks at the master while a verb waits or follows."""

AppArgument = Annotated[str, typer.Argument(help="The app's name.")]
_SETTLED = {"running", "ended", "refused", "failed", "suspended"}


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("status")(status)
    app.command("logs")(logs)
    app.command("stop")(stop)
    app.command("suspend")(suspend)
    app.command("resume")(resume)


def run(
    specs: Annotated[list[Path], typer.Argument(help="App specs; - is standard input.")],
    update: Annotated[
        bool, typer.Option(help="Change apps of these names that run, instead of refusing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until all containers run.")] = True,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait before giving up on pending apps.", min=0)
    ] = 60.0,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Submit apps and wait until they run; exit code 1 if one does not."""
    apps = read_apps(specs)
    missing = [
        f"{app.name}: groups.{group.name}.command"
        for app in apps
        for group in app.groups
        if group.command is None and not group.executor
    ]
    if missing:
        raise InputError.of(f"nothing to run without a command: {', '.join(missing)}")
    with client(connection) as master:
        answer = master.submit([app_to_dict(app) for app in apps], update=update)
        names = [app.name for app in apps]
        found = [master.app(name) for name in names] if not wait else _await(master, names, timeout)
    show(output, {"apps": found} if wait else answer, _apps_tables(found))
    if wait and any(app["state"] not in ("running", "ended") for app in found):
        raise typer.Exit(1)


def _await(master: Client, names: list[str], timeout: float) -> list[dict[str, Any]]:
    """Look until every app has settled, showing how far each one is."""
    deadline = time.monotonic() + timeout
    console = console_for_people(stderr=True)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            found = [master.app(name) for name in names]
            if console.is_terminal:
                live.update(_progress(found), refresh=True)
            if all(app["state"] in _SETTLED for app in found) or time.monotonic() > deadline:
                return found
            time.sleep(POLL)


def _progress(apps: Iterable[dict[str, Any]]) -> Table:
    rows = []
    for app in apps:
        states = [container["state"] for container in app["containers"]]
        up = sum(state == "running" for state in states)
        bar = "█" * (20 * up // max(1, len(states)))
        rows.append((app["app"], app["state"], f"{bar:<20}", f"{up}/{len(states)}"))
    return table(("APP", "STATE", "", "RUNNING"), rows)


def status(
    app: Annotated[str | None, typer.Argument(help="An app; all where none is named.")] = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Show the cluster, or one app with its containers."""
    with client(connection) as master:
        if app is not None:
            found = master.app(app)
            show(output, found, _apps_tables([found]))
            return
        overview = master.status()
        apps = master.apps()
    show(output, {**overview, "apps": apps}, _overview(overview, apps))


def _overview(overview: dict[str, Any], apps: list[dict[str, Any]]) -> Iterable[Table | str]:
    nodes = ", ".join(f"{count} {state}" for state, count in overview["nodes"].items())
    yield f"{overview['cluster']}: nodes {nodes or 'none'}; {overview['violations']} rules missed"
    yield table(
        ("APP", "KIND", "STATE", "RUNNING", "REASONS"),
        (
            (
                app["app"],
                app["kind"],
                app["state"],
                f"{sum(c['state'] == 'running' for c in app['containers'])}"
                f"/{len(app['containers'])}",
                "; ".join(app["reasons"]),
            )
            for app in apps
        ),
    )


def _apps_tables(apps: Iterable[dict[str, Any]]) -> Iterable[Table | str]:
    for app in apps:
        yield f"{app['app']} ({app['kind']}): {app['state']}"
        yield from (f"  {reason}" for reason in app["reasons"])
        yield table(
            ("CONTAINER", "STATE", "NODE", "RESTARTS", "CPU", "MEMORY", "PORT", "EXIT"),
            (
                (
                    c["container"],
                    c["state"],
                    c.get("node"),
                    c.get("restarts", 0),
                    f"{c['usage']['cpu_seconds']:.1f} s" if c.get("usage") else None,
                    approximate_memory(c["usage"]["memory"]) if c.get("usage") else None,
                    c.get("port"),
                    _exit(c.get("exit")),
                )
                for c in app["containers"]
            ),
        )


def _exit(found: dict[str, Any] | None) -> str | None:
    if not found:
        return None
    if found["kind"] == "exited":
        return f"code {found['code']}"
    if found["kind"] == "signal":
        return f"signal {found['signal']}"
    return str(found["kind"]) + (f": {found['detail']}" if found.get("detail") else "")


def logs(
    container: Annotated[str, typer.Argument(help="app/group/index, or app/group, or app.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")] = False,
    tail: Annotated[
        int, typer.Option(help="Bytes from the end to begin with; 0 for all that is kept.", min=0)
    ] = 0,
    connection: ConnectionOption = None,
) -> None:
    """Print what containers wrote; several are told apart by a prefix."""
    with client(connection) as master:
        names = _containers(master, container)
        offsets = dict.fromkeys(names, -tail if tail else 0)
        prefix = len(names) > 1
        following = set(names)
        while following:
            moved = False
            for name in sorted(following):
                try:
                    chunk = master.logs(name, offsets[name])
                except Refusal as refusal:
                    if not follow:
                        raise
                    if refusal.status == 404:
                        following.discard(name)
                    continue
                offsets[name] = chunk["next_offset"]
                moved |= bool(chunk["data"])
                _print_log(name if prefix else "", chunk["data"])
                if not chunk["data"] and (chunk["ended"] or not follow):
                    following.discard(name)
            if following and not moved:
                time.sleep(POLL)


def _containers(master: Client, name: str) -> list[str]:
    parts = name.split("/")
    if len(parts) == 3:
        try:
            return [str(ContainerId.parse(name))]
        except ValueError as error:
            raise InputError.of(str(error), field="container") from None
    found = [
        str(c["container"])
        for c in master.app(parts[0])["containers"]
        if len(parts) == 1 or c["container"].split("/")[1] == parts[1]
    ]
    if not found:
        raise ColchisError(f"{name} has no containers")
    return found


def _print_log(prefix: str, text: str) -> None:
    if prefix:
        text = "".join(f"{prefix}: {line}" for line in text.splitlines(keepends=True))
    sys.stdout.write(text)
    sys.stdout.flush()


def stop(
    apps: Annotated[list[str], typer.Argument(help="Names of apps.")],
    grace: Annotated[
        float, typer.Option(help="Seconds between SIGTERM and SIGKILL.", min=0)
    ] = 10.0,
    wait: Annotated[bool, typer.Option(help="Wait until nothing of them runs.")] = True,
    connection: ConnectionOption = None,
) -> None:
    """End apps: all their containers, and their rules."""
    with client(connection) as master:
        for name in apps:
            master.stop(name, grace)
        for name in apps:
            while wait and not _is_gone(master, name):
                time.sleep(POLL)
            say(f"{name}: {'stopped' if wait else 'stopping'}")


def _is_gone(master: Client, name: str) -> bool:
    try:
        return bool(master.app(name)["state"] == "ended")
    except Refusal as refusal:
        if refusal.status == 404:
            return True
        raise


def suspend(
    app: AppArgument,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    container: Annotated[list[str] | None, typer.Option(help="Only these containers.")] = None,
    connection: ConnectionOption = None,
) -> None:
    """Take an app's containers off their cores with their memory kept."""
    with client(connection) as master:
        master.suspend(app, container, group)
        _await_state(master, app, container, group, "suspended")
    say(f"{app}: suspended")


def resume(
    app: AppArgument,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    container: Annotated[list[str] | None, typer.Option(help="Only these containers.")] = None,
    connection: ConnectionOption = None,
) -> None:
    """Give suspended containers their cores back."""
    with client(connection) as master:
        master.resume(app, container, group)
        _await_state(master, app, container, group, "running")
    say(f"{app}: running")


def _await_state(
    master: Client, app: str, containers: list[str] | None, group: str | None, state: str
) -> None:
    """Wait until the containers meant have reached ``state`` or ended."""
    while True:
        meant = [
            c
            for c in master.app(app)["containers"]
            if (not containers or c["container"] in containers)
            and (group is None or c["container"].split("/")[1] == group)
        ]
        if all(c["state"] in (state, "ended", "pending") for c in meant):
            return
        time.sleep(POLL)
