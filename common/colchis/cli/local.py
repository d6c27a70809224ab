"""A whole cluster on this machine: one master and several agents, as processes of one folder."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colchis.cli.credentials import make_secrets
from colchis.cli.output import to_yaml
from colchis.client.connection import read_connection
from colchis.client.http import Client, Unreachable
from colchis.errors import ColchisError
from colchis.model.resources import format_memory

PATIENCE = 60.0
"""Seconds within which daemons must be ready, or gone once told to stop."""

POLL = 0.1
PORTS_EACH = 500
"""Ports that the containers of one agent may use."""

FIRST_PORT = 20_000


@dataclass(frozen=True, slots=True)
class Share:
    """What each agent offers of this machine: thousandths of a core, bytes."""

    cpus: int
    memory: int


class LocalCluster:
    """Lays out ``folder``, starts the daemons, and ends them.

    The folder holds all that they write; a second start on it finds the apps of the first.
    """

    def __init__(
        self, folder: Path, connection: Path, name: str, agents: int, racks: int, share: Share
    ) -> None:
        self._folder = folder
        self._connection = connection
        self._name = name
        self._nodes = {f"n{number + 1}": f"r{number % racks + 1}" for number in range(agents)}
        self._share = share
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._claims = ExitStack()
        self._lock = -1

    def start(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Start everything; returns when all nodes are ready, or ``given_up`` says to stop.

        Raises ColchisError where it cannot be, among others because such a cluster runs already.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._claim_all()
        make_secrets(self._folder / "keys", list(self._nodes))
        agents_port, api_port, jobs_port = self._claims.enter_context(free_ports(3))
        master = f"tcp://127.0.0.1:{agents_port}"
        self._write("master", self._master(master, api_port, jobs_port))
        for number, (node, rack) in enumerate(self._nodes.items()):
            self._write(node, self._agent(node, rack, number, master))
        for name in ("master", *self._nodes):
            self._launch(name)
        pids = [os.getpid(), *(daemon.pid for daemon in self._daemons.values())]
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{' '.join(map(str, pids))}\n".encode())
        self._await_ready(given_up)

    def stop(self, grace: float) -> None:
        """End all containers, then the daemons, if any were started.

        Daemons that died are started again for it, since only an agent can end its containers. The
        master stops the apps, so that their containers end in good order; what is left after
        ``grace`` seconds and some patience is ended by the agents.
        """
        if not self._daemons:
            self._claims.close()
            return
        agents = [name for name in self._daemons if name != "master"]
        self._revive()
        with suppress(ColchisError):
            self._stop_apps(grace)
        for names in (agents, ["master"]):
            for name in names:
                if name in self._daemons:
                    self._daemons[name].send_signal(signal.SIGTERM)
            self._await_end(names)
        with suppress(FileNotFoundError):
            self._connection.unlink()
        self._claims.close()

    def ended(self) -> Iterator[tuple[str, int]]:
        """Daemons that have ended by themselves, with their exit codes."""
        for name, daemon in self._daemons.items():
            code = daemon.poll()
            if code is not None:
                yield name, code

    def log(self, name: str) -> Path:
        """Where a daemon's output goes."""
        return self._folder / "logs" / f"{name}.log"

    def _claim_all(self) -> None:
        """See that no other cluster has this folder, this name or this connection file.

        The daemons hold the folder too, so that it is not free while one of them is left.
        """
        lock = self._claims.enter_context((self._folder / "lock").open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise ColchisError(
                f"a cluster runs on {self._folder} already (processes {lock.read().strip()}); "
                "end it first, or name another folder with --state"
            ) from None
        self._lock = lock.fileno()
        name = self._claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        try:
            name.bind(f"\0colchis-up-{os.getuid()}-{self._name}")
        except OSError:
            raise ColchisError(
                f"a cluster named {self._name} runs on this machine already; end it first, or "
                "give this one another --name"
            ) from None
        other = self._connected()
        if other is not None:
            raise ColchisError(
                f"{self._connection} leads to the cluster {other}, which is running; end it first, "
                "or name another file with --connection"
            )

    def _connected(self) -> str | None:
        """The cluster that the connection file leads to, if one answers there."""
        with suppress(ColchisError):
            connection = read_connection(self._connection)
            with Client(connection, timeout=2.0) as master:
                return str(master.status()["cluster"])
        return None

    def _write(self, name: str, settings: dict[str, Any]) -> None:
        file = self._settings(name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(to_yaml(settings))

    def _settings(self, name: str) -> Path:
        return self._folder / "settings" / f"{name}.yaml"

    def _launch(self, name: str) -> None:
        module = "colchis_master.service" if name == "master" else "colchis_agent.service"
        log = self.log(name)
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                [sys.executable, "-m", module, str(self._settings(name))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(self._lock,),
            )

    def _master(self, listen: str, api_port: int, jobs_port: int) -> dict[str, Any]:
        return {
            "cluster": self._name,
            "state": str(self._folder / "master"),
            "keys": str(self._folder / "keys"),
            "listen": listen,
            "api": f"127.0.0.1:{api_port}",
            "jobs": f"tcp://127.0.0.1:{jobs_port}",
            "connection": str(self._connection),
        }

    def _agent(self, node: str, rack: str, number: int, master: str) -> dict[str, Any]:
        keys = self._folder / "keys"
        first = FIRST_PORT + number * PORTS_EACH
        return {
            "node": node,
            "master": master,
            "master_key": str(keys / "master.pub"),
            "key": str(keys / "agents" / f"{node}.key"),
            "state": str(self._folder / "agents" / node),
            "address": "127.0.0.1",
            "cpus": self._share.cpus / 1000,
            "memory": format_memory(self._share.memory),
            "groups": {"rack": rack},
            "cgroup": f"colchis/{self._name}/{node}",
            "ports": [first, first + PORTS_EACH - 1],
            "stop_containers": True,
        }

    def _await_ready(self, given_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (given_up() or self._is_ready()):
            for name, code in self.ended():
                tail = self.log(name).read_text(errors="replace").splitlines()[-5:]
                raise ColchisError("\n".join([f"{name} ended with code {code}:", *tail]))
            if time.monotonic() > deadline:
                raise ColchisError(f"not ready after {PATIENCE:.0f} s; see {self.log('master')}")
            time.sleep(POLL)

    def _is_ready(self) -> bool:
        if not self._connection.exists():
            return False
        with suppress(Unreachable), Client(read_connection(self._connection)) as master:
            ready = {node["node"] for node in master.nodes() if node["state"] == "ready"}
            return ready >= set(self._nodes)
        return False

    def _revive(self) -> None:
        """Start the daemons again that have ended; wait until their agents are heard or end too."""
        began = time.monotonic()
        dead = [name for name, _ in self.ended()]
        for name in dead:
            self._launch(name)
        missing = set(self._nodes) if "master" in dead else set(dead)
        deadline = began + PATIENCE
        while missing and not list(self.ended()) and time.monotonic() < deadline:
            with suppress(ColchisError), Client(read_connection(self._connection)) as master:
                nodes = master.nodes()
                since = time.monotonic() - began
                ages = {node["node"]: node["heartbeat_age"] for node in nodes}
                missing = {name for name in missing if not _is_below(ages.get(name), since)}
            time.sleep(POLL)

    def _stop_apps(self, grace: float) -> None:
        with Client(read_connection(self._connection)) as master:
            for app in master.apps():
                master.stop(app["app"], grace)
            deadline = time.monotonic() + grace + PATIENCE
            while master.apps() and time.monotonic() < deadline:
                time.sleep(POLL)

    def _await_end(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        for name in names:
            daemon = self._daemons.get(name)
            if daemon is None:
                continue
            try:
                daemon.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _is_below(age: float | None, bound: float) -> bool:
    return age is not None and age < bound


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Ports of the loopback address that are given to nobody else until the end of the block.

    Those who ask for one of them by its number, with SO_REUSEADDR as servers do, can listen on it,
    also again and again; until then connections to it are refused.
    """
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            held = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            held.bind(("127.0.0.1", 0))
            # Only now: before it, the kernel might choose a port that somebody else holds thus.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ports.append(int(held.getsockname()[1]))
        yield ports


def whole_machine(agents: int) -> Share:
    """This machine's cores and half its memory, divided between so many agents."""
    cpus = (os.cpu_count() or 1) * 1000
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return Share(max(100, cpus // agents), memory // agents // 2**20 * 2**20)
