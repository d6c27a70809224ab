"""`run`, `status`, `stop`, `suspend`, `resume`: the life of an app."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, console_for_people, say, show, table
from colchis.cli.targets import AppArguments, MaybeAppArgument, Target, TargetArguments
from colchis.cli.waiting import POLL, TimeoutOption, WaitOption, wait_until
from colchis.cli.warnings import rules_of, warn_of_groups
from colchis.client.http import Client, Refusal
from colchis.errors import ColchisError, InputError, Problem
from colchis.model.resources import approximate_memory
from colchis.specs import app_to_dict, read_apps

_SETTLED = {"running", "ended", "refused", "failed", "suspended"}
_WELL = {"running", "ended", "suspended"}


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("status")(status)
    app.command("stop")(stop)
    app.command("suspend")(suspend)
    app.command("resume")(resume)


def run(
    specs: Annotated[list[Path], typer.Argument(help="App specs; - is standard input.")],
    update: Annotated[
        bool, typer.Option("--update", help="Change apps of these names that are there already.")
    ] = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 60.0,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Submit apps and wait until they run; exit code 1 if one does not."""
    apps = read_apps(specs)
    silent = [
        Problem(app.name, 0, 0, f"groups.{group.name}.command", "nothing to run without a command")
        for app in apps
        for group in app.groups
        if group.command is None and not group.executor
    ]
    if silent:
        raise InputError(silent)
    names = [app.name for app in apps]
    with client(connection) as master:
        master.submit([app_to_dict(app) for app in apps], update=update)
        warn_of_groups(rules_of(apps), master)
        found = _settle(master, names, timeout if wait else 0.0)
    show(output, {"apps": found}, _apps_tables(found))
    if not wait:
        return
    for app in found:
        if app["state"] not in _SETTLED:
            say(f"{app['app']}: {app['state']} after {timeout:g} s; it is not given up")
    if any(app["state"] not in _WELL for app in found):
        raise typer.Exit(1)


def _settle(master: Client, names: list[str], timeout: float) -> list[dict[str, Any]]:
    """Look until every app has settled or time is up, showing how far each one is."""
    deadline = time.monotonic() + timeout
    console = console_for_people(stderr=True)
    told: dict[str, str] = {}
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            found = [master.app(name) for name in names]
            if console.is_terminal:
                live.update(table(("APP", "STATE", "", "RUNNING"), map(_bar, found)), refresh=True)
            else:
                for app in found:
                    line = f"{app['app']}: {app['state']}, {_running(app)} running"
                    if timeout and told.get(app["app"]) != line:
                        told[app["app"]] = line
                        say(line)
            if all(app["state"] in _SETTLED for app in found) or time.monotonic() >= deadline:
                return found
            time.sleep(POLL)


def _bar(app: dict[str, Any]) -> tuple[str, ...]:
    states = [container["state"] for container in app["containers"]]
    filled = "█" * (20 * states.count("running") // max(1, len(states)))
    return (app["app"], app["state"], f"{filled:<20}", _running(app))


def _running(app: dict[str, Any]) -> str:
    states = [container["state"] for container in app["containers"]]
    return f"{states.count('running')}/{len(states)}"


def status(
    app: MaybeAppArgument = None,
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
    missed = overview["violations"]
    yield f"{overview['cluster']}: nodes: {nodes or 'none'}; rules are missed {missed} times"
    yield table(
        ("APP", "KIND", "STATE", "RUNNING", "WHY"),
        (
            (app["app"], app["kind"], app["state"], _running(app), "; ".join(app["reasons"]))
            for app in apps
        ),
    )


def _apps_tables(apps: Iterable[dict[str, Any]]) -> Iterable[Table | str]:
    for app in apps:
        yield f"{app['app']} ({app['kind']}): {app['state']}"
        yield from (f"  {reason}" for reason in app["reasons"])
        if app["containers"]:
            yield table(
                ("CONTAINER", "STATE", "NODE", "RESTARTS", "CPU", "MEMORY", "PORT", "EXIT", "WHY"),
                map(_container, app["containers"]),
            )


def _container(container: dict[str, Any]) -> tuple[Any, ...]:
    usage = container["usage"]
    return (
        container["container"],
        container["state"],
        container["node"],
        container["restarts"],
        f"{usage['cpu_seconds']:.1f} s" if usage else None,
        approximate_memory(usage["memory"]) if usage else None,
        container["port"],
        _exit(container["exit"]),
        "; ".join(container["reasons"]),
    )


def _exit(found: dict[str, Any] | None) -> str | None:
    if not found:
        return None
    if found["kind"] == "exited":
        return f"code {found['code']}"
    if found["kind"] == "signal":
        return f"signal {found['signal']}"
    return str(found["kind"]) + (f": {found['detail']}" if found.get("detail") else "")


def stop(
    apps: AppArguments,
    grace: Annotated[
        float, typer.Option(help="Seconds between SIGTERM and SIGKILL.", min=0, max=86_400)
    ] = 10.0,
    wait: WaitOption = True,
    timeout: TimeoutOption = 120.0,
    connection: ConnectionOption = None,
) -> None:
    """End apps: all their containers, and their rules."""
    refused = []
    with client(connection) as master:
        for name in apps:
            try:
                master.stop(name, grace)
            except Refusal as refusal:
                refused.append(str(refusal))
        if not wait:
            say("stopping")
        elif not wait_until(lambda: all(_is_gone(master, name) for name in apps), timeout):
            refused.append(f"something of them still runs after {timeout:g} s")
    if refused:
        raise ColchisError("\n".join(refused))
    if wait:
        say(f"{', '.join(apps)}: stopped")


def _is_gone(master: Client, name: str) -> bool:
    try:
        return bool(master.app(name)["state"] == "ended")
    except Refusal as refusal:
        if refusal.status == 404:
            return True
        raise


def suspend(
    targets: TargetArguments,
    wait: WaitOption = True,
    timeout: TimeoutOption = 60.0,
    connection: ConnectionOption = None,
) -> None:
    """Take containers off their cores, with their memory kept."""
    _switch(targets, Client.suspend, "suspended", timeout if wait else None, connection)


def resume(
    targets: TargetArguments,
    wait: WaitOption = True,
    timeout: TimeoutOption = 60.0,
    connection: ConnectionOption = None,
) -> None:
    """Give suspended containers their cores back."""
    _switch(targets, Client.resume, "running", timeout if wait else None, connection)


def _switch(
    names: list[str],
    order: Callable[[Client, str, list[str] | None, str | None], Any],
    state: str,
    timeout: float | None,
    connection: Path | None,
) -> None:
    """Order it of all, then wait until each has reached ``state`` or has no process to reach it."""
    targets = [Target.parse(name) for name in names]
    there = {state, "pending", "ended"}

    def missing() -> list[dict[str, Any]]:
        found = [container for target in targets for container in target.containers(master)]
        return [container for container in found if container["state"] not in there]

    with client(connection) as master:
        for target in targets:
            single = [target.container] if target.container else None
            order(master, target.app, single, None if single else target.group)
        if timeout is None:
            return
        if not wait_until(lambda: not missing(), timeout):
            late = (
                ": ".join([f"{c['container']} is {c['state']}", *c["reasons"]]) for c in missing()
            )
            raise ColchisError("\n".join([f"not all {state} after {timeout:g} s", *late]))
    say(f"{', '.join(map(str, targets))}: {state}")
