"""A cluster of Docker containers, one a host, seen and hurt from outside."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"

from testcontainers.core.container import DockerContainer  # reads the setting above
from testcontainers.core.network import Network

from colchis.cli.credentials import make_secrets
from colchis.client.connection import Connection
from colchis.client.http import Client, Refusal, Unreachable
from colchis.model.cluster import Cluster
from colchis.specs import parse_cluster

PATIENCE = 180.0
POLL = 0.2
API_PORT = 7641
# What the processes of a host's agent, and of what starts it, are called.
AGENT = r"^\S*python\S* \S*/colchis agent "
LOOP = r"^sh -c while :"
CGROUPS = Path("/sys/fs/cgroup")
Found = TypeVar("Found")


class Lab:
    """Hosts ``master``, ``n1``, ``n2``, …; agents are in two racks by turns."""

    def __init__(self, image: str, folder: Path, agents: int) -> None:
        self.nodes = [f"n{number + 1}" for number in range(agents)]
        self._image = image
        self.keys = folder / "keys"
        self._network = Network()
        self._hosts: dict[str, DockerContainer] = {}
        self._run = f"colchis-lab-{os.getpid()}"

    def start(self) -> None:
        """Returns when every node is ready."""
        make_secrets(self.keys, self.nodes)
        self._network.create()
        master = "colchis master --state /var/lib/colchis --keys /etc/colchis"
        master += f" --listen tcp://0.0.0.0:7640 --api 0.0.0.0:{API_PORT}"
        master += f" --public-api http://master:{API_PORT}"
        self._host("master", master).with_exposed_ports(API_PORT).start()
        for number, node in enumerate(self.nodes):
            self.agent(node, f"--group rack=r{number % 2} --group upgrade_domain=u{number}").start()
        self.until("all nodes are ready", lambda: self.states() == Counter(ready=len(self.nodes)))

    def agent(self, node: str, options: str) -> DockerContainer:
        """A host with an agent, which is started again whenever it ends."""
        agent = f"colchis agent --node {node} --master tcp://master:7640"
        agent += f" --master-key /etc/colchis/master.pub --key /etc/colchis/agents/{node}.key"
        agent += f" --state /var/lib/colchis --cpus 1 --memory 2GiB --cgroup {self._run}-{node}"
        host = self._host(node, ["sh", "-c", f"while :; do {agent} {options}; sleep 0.2; done"])
        host.with_volume_mapping(str(CGROUPS), str(CGROUPS), "rw")
        return host.with_kwargs(
            cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined"],
            cgroupns="host",
            hostname=node,
            init=True,
        )

    def stop(self) -> None:
        """Take everything down, cgroups of killed hosts included."""
        for host in self._hosts.values():
            with suppress(Exception):
                host.get_wrapped_container().unpause()
            with suppress(Exception):
                host.stop()
        with suppress(Exception):
            self._network.remove()
        left = [path for path in CGROUPS.rglob("*") if self._run in str(path) and path.is_dir()]
        for path in sorted(left, key=lambda path: -len(path.parts)):
            with suppress(OSError):
                path.rmdir()

    def client(self) -> Client:
        """Of the master's API, from outside the cluster."""
        port = self._hosts["master"].get_exposed_port(API_PORT)
        token = (self.keys / "admin.token").read_text().strip()
        return Client(Connection(f"http://127.0.0.1:{port}", token), timeout=30)

    def states(self) -> Counter[str]:
        """How many nodes are in which state; empty while the master does not answer."""
        with suppress(Unreachable), self.client() as master:
            return Counter(node["state"] for node in master.nodes())
        return Counter()

    def colchis(self, *arguments: str) -> str:
        """What the command prints on a further host, which is gone afterwards."""
        connection = Connection(
            f"http://master:{API_PORT}", (self.keys / "admin.token").read_text().strip()
        )
        file = self.keys / "connection.json"
        file.touch(0o600)
        file.write_bytes(msgspec.json.encode(connection))
        user = self._host(f"user-{time.monotonic_ns()}", "sleep 600")
        user.with_env("COLCHIS_CONNECTION", "/etc/colchis/connection.json")
        with user:
            code, output = user.exec(["colchis", *arguments])
        text = output.decode() if isinstance(output, bytes) else str(output)
        assert code == 0, text
        return text

    def cluster(self) -> Cluster:
        """The snapshot that the master gives."""
        with self.client() as master:
            return parse_cluster(msgspec.json.encode(master.snapshot()).decode())

    def app(self, name: str) -> dict[str, Any]:
        with self.client() as master:
            return master.app(name)

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """What happened, by the master's clock, from the event numbered ``since`` on."""
        with self.client() as master:
            found: list[dict[str, Any]] = master.events(since, 10_000)["events"]
        return found

    def docker(self, node: str) -> Any:
        """Docker's handle on a host."""
        return self._hosts[node].get_wrapped_container()

    def kill_agent(self, node: str) -> None:
        """Kill the agent of a host, not the host."""
        killed = self.docker(node).exec_run(["pkill", "-KILL", "-f", AGENT])
        assert killed.exit_code == 0, "no agent runs"

    def hold_agent(self, node: str) -> None:
        """Kill the agent of a host and let no other start until it is released."""
        host = self.docker(node)
        assert host.exec_run(["pkill", "-STOP", "-f", LOOP]).exit_code == 0, "nothing starts agents"
        host.exec_run(["pkill", "-KILL", "-f", AGENT])
        self.until("no agent runs", lambda: host.exec_run(["pgrep", "-f", AGENT]).exit_code == 1)

    def release_agent(self, node: str) -> None:
        """Let agents start again on a host."""
        self.docker(node).exec_run(["pkill", "-CONT", "-f", LOOP])

    def said(self, node: str) -> str:
        """What the daemon of a host has logged."""
        return str(self.docker(node).logs().decode())

    def cut(self, node: str) -> None:
        """Take a host off the network."""
        self._docker_network().disconnect(self.docker(node))

    def heal(self, node: str) -> None:
        """Put it back."""
        self._docker_network().connect(self.docker(node), aliases=[node])

    def identities(self) -> dict[str, list[tuple[int, int]]]:
        """Pid and start time of each container's main processes, as this machine's kernel says.

        A container's main process leads a session of its own.
        """
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                if self._run not in (path / "cgroup").read_text():
                    continue
                if os.getsid(int(path.name)) != int(path.name):
                    continue
                started = int((path / "stat").read_text().rpartition(")")[2].split()[19])
                for entry in (path / "environ").read_bytes().split(b"\0"):
                    name, _, value = entry.partition(b"=")
                    if name == b"COLCHIS_CONTAINER":
                        found[value.decode()].append((int(path.name), started))
        return dict(found)

    def processes(self) -> Counter[str]:
        """How many main processes each container has."""
        return Counter({name: len(found) for name, found in self.identities().items()})

    def until(self, what: str, condition: Callable[[], Found]) -> Found:
        """The first true value of ``condition``; fails when it takes too long."""
        deadline = time.monotonic() + PATIENCE
        last: Exception | None = None
        while time.monotonic() < deadline:
            try:
                found = condition()
            except (Refusal, Unreachable) as error:
                last = error
            else:
                if found:
                    return found
            time.sleep(POLL)
        raise AssertionError(f"not after {PATIENCE:.0f} s: {what} ({last})")

    def account(self) -> str:
        """What happened, for whoever looks into a failure: events, and the ends of the logs."""
        lines = []
        with suppress(Exception), self.client() as master:
            events = master.events(0, 10_000)["events"]
            for event in events[-120:]:
                clock = time.strftime("%H:%M:%S", time.gmtime(event["time"]))
                lines.append(f"{clock} {event['event']}: {event['text']}")
        for name, host in self._hosts.items():
            with suppress(Exception):
                lines.append(f"--- {name}\n{host.get_wrapped_container().logs(tail=20).decode()}")
        return "\n".join(lines)

    def _host(self, name: str, command: str | list[str]) -> DockerContainer:
        host = DockerContainer(self._image).with_command(command)
        host.with_network(self._network).with_network_aliases(name)
        host.with_volume_mapping(str(self.keys), "/etc/colchis", "ro")
        self._hosts[name] = host
        return host

    def _docker_network(self) -> Any:
        client = self.docker("master").client
        return client.networks.get(self._network.id)
