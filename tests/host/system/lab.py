"""Clusters of real daemons in a folder of a test, and the command to use them with."""

import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from colchis.cli.local import free_ports
from colchis.client.connection import read_connection
from colchis.client.http import Client
from colchis.errors import ColchisError
from colchis_agent.cgroups import open_tree
from tests.host.support import container_ports
from tests.support import DEADLINE, wait_for

COLCHIS = [sys.executable, "-m", "colchis"]
NODES = {"n1": "r1", "n2": "r2", "n3": "r1", "n4": "r2"}
LOOP = "import time\nprint('up', flush=True)\nwhile True: time.sleep(0.1)"


def service(name: str, count: int = 1, *rules: Any, **group: Any) -> dict[str, Any]:
    """A spec of one group ``a`` of containers that do nothing but run."""
    plain = {
        "count": count,
        "tags": [name],
        "resources": {"cpus": 0.1, "memory": "32MiB"},
        "command": ["python", "-S", "-c", LOOP],
    }
    return {
        "app": name,
        "kind": "service",
        "groups": {"a": {**plain, **group}},
        "constraints": list(rules),
    }


class Lab:
    """A master and agents, each started, signalled and started again as a test likes."""

    def __init__(self, folder: Path, nodes: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.nodes = NODES if nodes is None else nodes
        self.connection = folder / "connection.json"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "COLCHIS_CONNECTION": str(self.connection)}
        self._cgroup = f"colchis-test-{uuid.uuid4().hex[:8]}"
        self._stack = ExitStack()
        agents_port, api_port = self._stack.enter_context(free_ports(2))
        self.master_address = f"tcp://127.0.0.1:{agents_port}"
        keys = folder / "keys"
        self.run("keygen", str(keys), *(f"--node={node}" for node in self.nodes))
        self.settings: dict[str, dict[str, Any]] = {
            "master": {
                "cluster": "lab",
                "state": str(folder / "master"),
                "keys": str(keys),
                "listen": self.master_address,
                "api": f"127.0.0.1:{api_port}",
                "connection": str(self.connection),
            }
        }
        for number, (node, rack) in enumerate(self.nodes.items()):
            self.settings[node] = self.agent_settings(node, rack, number)

    def agent_settings(self, node: str, rack: str, number: int) -> dict[str, Any]:
        keys = self.folder / "keys"
        return {
            "node": node,
            "master": self.master_address,
            "master_key": str(keys / "master.pub"),
            "key": str(keys / "agents" / f"{node}.key"),
            "state": str(self.folder / "agents" / node),
            "address": "127.0.0.1",
            "cpus": 1,
            "memory": "512MiB",
            "groups": {"rack": rack},
            "cgroup": f"{self._cgroup}/{node}",
            "ports": container_ports(number),
        }

    def __enter__(self) -> "Lab":
        self.start("master", *self.nodes)
        wait_for(self.is_ready, "all nodes")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait(DEADLINE)
        for name, settings in self.settings.items():
            if name != "master":
                tree = open_tree(settings["cgroup"], Path(settings["state"]) / "groups")
                for group in tree.names():
                    assert tree.kill_all(group, DEADLINE)
                    tree.remove(group)
                tree.close()

    def start(self, *names: str) -> None:
        for name in names:
            file = self.folder / f"{name}.yaml"
            file.write_text(json.dumps(self.settings[name]))
            verb = "master" if name == "master" else "agent"
            with self.log(name).open("ab") as log:
                self.daemons[name] = subprocess.Popen(
                    [*COLCHIS, verb, "--config", str(file)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def kill(self, name: str) -> None:
        daemon = self.daemons[name]
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(DEADLINE)

    def end(self, name: str) -> None:
        """Tell a daemon to stop, as an operator does, and wait until it has."""
        daemon = self.daemons[name]
        daemon.terminate()
        assert daemon.wait(DEADLINE) == 0

    def is_ready(self) -> bool:
        try:
            return self.node_states() == dict.fromkeys(self.nodes, "ready")
        except ColchisError:
            return False

    def client(self) -> Client:
        return Client(read_connection(self.connection))

    def node_states(self) -> dict[str, str]:
        with self.client() as master:
            return {node["node"]: node["state"] for node in master.nodes()}

    def run(
        self, *arguments: str, given: Any = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """A command that has to end with ``code``; what is ``given`` becomes standard input."""
        done = subprocess.run(
            [*COLCHIS, *arguments],
            input=None if given is None else json.dumps(given),
            stdin=subprocess.DEVNULL if given is None else None,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE * 2,
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json").stdout)

    def containers(self, app: str) -> dict[str, dict[str, Any]]:
        """An app's containers by their names."""
        with self.client() as master:
            return {c["container"]: c for c in master.app(app)["containers"]}

    def lives(self, *apps: str) -> dict[str, tuple[Any, ...]]:
        """What tells one life of a container from another: incarnation, restarts, pid, node."""
        return {
            name: (c["incarnation"], c["restarts"], c["pid"], c["node"])
            for app in apps
            for name, c in self.containers(app).items()
        }

    def processes(self, app: str) -> set[int]:
        """Processes of an app's containers, by the environment that each of them has."""
        wanted = f"COLCHIS_APP={app}".encode()
        here = str(self.folder).encode()
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0") and here in environment:
                found.add(int(path.name))
        return found

    def copies(self, app: str) -> int:
        """How many of them there are."""
        return len(self.processes(app))

    def stop(self, *apps: str) -> None:
        """End apps and wait until they are gone."""
        with self.client() as master:
            for app in apps:
                master.stop(app, 2)
            wait_for(lambda: {one["app"] for one in master.apps()}.isdisjoint(apps), "an end")
