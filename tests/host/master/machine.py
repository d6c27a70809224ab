"""A master and agents as real processes on this host."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from colchis.cli.credentials import make_secrets
from colchis.cli.local import free_ports
from colchis.client.connection import Connection
from colchis.client.http import Client, Unreachable
from tests.host.support import container_ports
from tests.support import DEADLINE


class Machine:
    """One master and agents of these nodes on this host."""

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self.folder = folder
        self.nodes = nodes
        self.keys = folder / "keys"
        make_secrets(self.keys, nodes)
        self._stack = ExitStack()
        self.agents_port, self.api_port = self._stack.enter_context(free_ports(2))
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        token = (self.keys / "admin.token").read_text().strip()
        self.client = Client(Connection(f"http://127.0.0.1:{self.api_port}", token))

    def start_master(self, more: str = "") -> None:
        """``more`` is added to its settings."""
        settings = (
            f"state: {self.folder}/master\nkeys: {self.keys}\n"
            f"listen: tcp://127.0.0.1:{self.agents_port}\napi: 127.0.0.1:{self.api_port}\n"
            f"interval: 100ms\n{more}"
        )
        self._start("master", "colchis_master.service", settings)

    def start_agents(self) -> None:
        for number, node in enumerate(self.nodes):
            self._start_agent(number, node)

    def _start_agent(self, number: int, node: str) -> None:
        settings = (
            f"node: {node}\nmaster: tcp://127.0.0.1:{self.agents_port}\n"
            f"master_key: {self.keys}/master.pub\nkey: {self.keys}/agents/{node}.key\n"
            f"state: {self.folder}/{node}\ncpus: 1\nmemory: 256MiB\nstop_containers: true\n"
            f"ports: {container_ports(number)}\n"
        )
        self._start(node, "colchis_agent.service", settings)

    def _start(self, name: str, module: str, settings: str) -> None:
        file = self.folder / f"{name}.yaml"
        file.write_text(settings)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [sys.executable, "-m", module, str(file)], stdout=log, stderr=log
            )

    def kill_master(self) -> None:
        master = self.daemons.pop("master")
        master.send_signal(signal.SIGKILL)
        master.wait(DEADLINE)

    def answers(self) -> bool:
        """Whether the master answers, and all agents are ready."""
        try:
            ready = self.client.status()["nodes"].get("ready", 0)
        except Unreachable:
            return False
        return bool(ready == len(self.nodes))

    def close(self) -> None:
        self.client.close()
        self._stack.close()
        for name in (*self.nodes, "master"):
            if name in self.daemons:
                self.daemons[name].terminate()
                self.daemons[name].wait(DEADLINE)
