"""`up`, `master`, `agent`, `keygen`: running a cluster."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from colchis.cli.connect import ConnectionOption
from colchis.cli.credentials import make_secrets
from colchis.cli.local import LocalCluster, Share, whole_machine
from colchis.cli.output import say
from colchis.cli.stopping import Stopping
from colchis.client.connection import default_path
from colchis.errors import InputError
from colchis.logs import log_to_stderr
from colchis.model.resources import parse_cpus, parse_memory

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A YAML file of settings; flags come before it.")
]


def register(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("master")(master)
    app.command("agent")(agent)
    app.command("keygen")(keygen)


def up(
    agents: Annotated[int, typer.Option(help="How many agents.", min=1, max=64)] = 4,
    racks: Annotated[int, typer.Option(help="Racks among which they are dealt.", min=1)] = 2,
    cpus: Annotated[
        str | None, typer.Option(help="Cores of each agent; all are divided by default.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory of each agent; half is divided by default.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for all that it writes; kept for the next time.")
    ] = None,
    name: Annotated[str, typer.Option(help="The cluster's name, and its cgroup's.")] = "local",
    connection: ConnectionOption = None,
) -> None:
    """Run a master and agents on this machine until Ctrl-C; their containers end with them."""
    share = _share(agents, cpus, memory)
    file = connection or default_path()
    folder = (state or file.parent / "local").absolute()
    cluster = LocalCluster(folder, file, name, agents, racks, share)
    with Stopping(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as stopping:
        try:
            cluster.start(lambda: stopping.told)
            if not stopping.told:
                say(f"{name}: {agents} nodes are ready; state in {folder}")
                say("use it from another terminal; Ctrl-C ends it and all that runs on it")
            while not stopping.wait(1.0):
                for daemon, code in cluster.ended():
                    say(f"error: {daemon} ended with code {code}; see {cluster.log(daemon)}")
                    raise typer.Exit(1)
            say(f"{name}: stopping")
        finally:
            cluster.stop(5.0)


def _share(agents: int, cpus: str | None, memory: str | None) -> Share:
    share = whole_machine(agents)
    try:
        return Share(
            share.cpus if cpus is None else parse_cpus(cpus),
            share.memory if memory is None else parse_memory(memory),
        )
    except ValueError as error:
        raise InputError.of(str(error), field="--cpus or --memory") from None


def master(
    config: ConfigOption = None,
    state: Annotated[Path | None, typer.Option(help="Folder of the journal.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder that keygen made.")] = None,
    listen: Annotated[str | None, typer.Option(help="For agents: tcp://HOST:PORT.")] = None,
    api: Annotated[str | None, typer.Option(help="For HTTP: HOST:PORT.")] = None,
    public_api: Annotated[
        str | None, typer.Option(help="The API's address as others reach it.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="The cluster's name.")] = None,
    jobs: Annotated[
        str | None, typer.Option(help="For executors and clients of jobs: tcp://HOST:PORT.")
    ] = None,
    public_jobs: Annotated[
        str | None, typer.Option(help="The job service's address as others reach it.")
    ] = None,
    connection: Annotated[
        Path | None, typer.Option("--write-connection", help="A connection file to write.")
    ] = None,
) -> None:
    """Run a master in the foreground."""
    from colchis_master.service.master import run_master
    from colchis_master.service.settings import load_settings

    flags = _flags(
        state=state,
        keys=keys,
        listen=listen,
        api=api,
        public_api=public_api,
        cluster=cluster,
        jobs=jobs,
        public_jobs=public_jobs,
        connection=connection,
    )
    log_to_stderr()
    raise typer.Exit(run_master(load_settings(config, flags)))


def agent(
    config: ConfigOption = None,
    node: Annotated[str | None, typer.Option(help="This node's name.")] = None,
    master_address: Annotated[
        str | None, typer.Option("--master", help="The master: tcp://HOST:PORT.")
    ] = None,
    master_key: Annotated[Path | None, typer.Option(help="The master's .pub file.")] = None,
    key: Annotated[Path | None, typer.Option(help="This node's .key file.")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of containers and logs.")] = None,
    address: Annotated[str | None, typer.Option(help="Where others reach this node.")] = None,
    cpus: Annotated[str | None, typer.Option(help="Cores to offer; all by default.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory to offer; all by default.")] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A set it is in, as rack=r1; may be given again.")
    ] = None,
    cgroup: Annotated[
        str | None, typer.Option(help="Its subtree below the root of the cgroups.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Who runs the containers.")] = None,
    stop_containers: Annotated[
        bool | None, typer.Option(help="End the containers when the agent ends.")
    ] = None,
) -> None:
    """Run an agent in the foreground."""
    from colchis_agent.service.agent import run_agent
    from colchis_agent.service.settings import load_settings

    flags = _flags(
        node=node,
        master=master_address,
        master_key=master_key,
        key=key,
        state=state,
        address=address,
        cpus=cpus,
        memory=memory,
        groups=_groups(group),
        cgroup=cgroup,
        user=user,
        stop_containers=stop_containers,
    )
    log_to_stderr()
    raise typer.Exit(run_agent(load_settings(config, flags)))


def keygen(
    folder: Annotated[Path, typer.Argument(help="Where keys and tokens go.")],
    node: Annotated[
        list[str] | None, typer.Option(help="A node that gets a key; may be given again.")
    ] = None,
) -> None:
    """Make the keys and tokens of a cluster; those that are there are left alone."""
    os.umask(0o077)
    made = make_secrets(folder, node or [])
    for path in made:
        print(path)
    if not made:
        say("all of them are there already")


def _flags(**given: object) -> Mapping[str, object]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None
    }


def _groups(given: Sequence[str] | None) -> dict[str, Any] | None:
    if not given:
        return None
    groups: dict[str, list[str]] = {}
    for text in given:
        group, equals, name = text.partition("=")
        if not (group and equals and name):
            raise InputError.of(f"{text!r} names no set; write GROUP=SET", field="--group")
        groups.setdefault(group, []).append(name)
    return groups
