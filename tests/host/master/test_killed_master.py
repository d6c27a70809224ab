"""A master that is killed comes back with all it had; no container notices."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colchis.cli.credentials import make_secrets
from colchis.client.connection import Connection
from colchis.client.http import Client, Unreachable
from tests.host.support import alive, wait_for

PATIENCE = 90.0
NODES = ("n1", "n2")
APP = {
    "app": "web",
    "groups": {
        "w": {
            "count": 3,
            "tags": ["web"],
            "resources": {"cpus": 0.1, "memory": "32MiB"},
            "command": ["sleep", "1000"],
        }
    },
    "constraints": ["{web, {self/web, 0, 1}, node}"],
}


class Machine:
    """One master and two agents on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        make_secrets(self.keys, NODES)
        self.agents_port, self.api_port = _free_port(), _free_port()
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        token = (self.keys / "admin.token").read_text().strip()
        self.client = Client(Connection(f"http://127.0.0.1:{self.api_port}", token))

    def start_master(self) -> None:
        settings = (
            f"state: {self.folder}/master\nkeys: {self.keys}\n"
            f"listen: tcp://127.0.0.1:{self.agents_port}\napi: 127.0.0.1:{self.api_port}\n"
            "interval: 100ms\n"
        )
        self._start("master", "colchis_master.service", settings)

    def start_agent(self, number: int, node: str) -> None:
        settings = (
            f"node: {node}\nmaster: tcp://127.0.0.1:{self.agents_port}\n"
            f"master_key: {self.keys}/master.pub\nkey: {self.keys}/agents/{node}.key\n"
            f"state: {self.folder}/{node}\ncpus: 1\nmemory: 256MiB\nstop_containers: true\n"
            f"ports: [{24_000 + 100 * number}, {24_099 + 100 * number}]\n"
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
        master.wait(PATIENCE)

    def close(self) -> None:
        self.client.close()
        for name in (*NODES, "master"):
            if name in self.daemons:
                self.daemons[name].terminate()
                self.daemons[name].wait(PATIENCE)

    def app(self) -> dict[str, Any]:
        try:
            return self.client.app("web")
        except Unreachable:
            return {"state": "unreachable", "containers": []}

    def runs(self) -> bool:
        app = self.app()
        containers = app["containers"]
        return app["state"] == "running" and all(c["pid"] for c in containers)

    def pids(self) -> dict[str, tuple[int, str, int, int]]:
        return {
            c["container"]: (c["pid"], c["node"], c["incarnation"], c["restarts"])
            for c in self.app()["containers"]
        }


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    try:
        yield found
    finally:
        found.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(machine: Machine) -> bool:
    try:
        return bool(machine.client.status()["nodes"] == {"ready": 2})
    except Unreachable:
        return False


def test_no_container_notices_that_the_master_was_killed(machine: Machine) -> None:
    machine.start_master()
    for number, node in enumerate(NODES):
        machine.start_agent(number, node)
    wait_for(lambda: answers(machine))
    assert machine.client.submit([APP])["apps"][0]["app"] == "web"
    wait_for(machine.runs)
    before = machine.pids()
    for _ in range(2):
        machine.kill_master()
        machine.start_master()
        wait_for(lambda: answers(machine) and machine.runs())
        assert machine.pids() == before
    # Killed as soon as it has acknowledged: the app is there afterwards all the same.
    late = {**APP, "app": "late", "constraints": []}
    machine.client.submit([late])
    machine.kill_master()
    assert all(alive(pid) for pid, *_ in before.values())
    machine.start_master()
    wait_for(lambda: answers(machine))
    wait_for(lambda: machine.client.app("late")["state"] == "running")
    assert machine.pids() == before
    machine.client.stop("web", 1.0)
    wait_for(lambda: [app["app"] for app in machine.client.apps()] == ["late"])
    wait_for(lambda: not any(alive(pid) for pid, *_ in before.values()))
