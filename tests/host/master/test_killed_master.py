"""A master that is killed comes back with all it had; no container notices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colchis.client.http import Unreachable
from tests.host.master.machine import Machine
from tests.support import alive, wait_for

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


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path, NODES)
    try:
        yield found
    finally:
        found.close()


def web(machine: Machine) -> dict[str, Any]:
    try:
        return machine.client.app("web")
    except Unreachable:
        return {"state": "unreachable", "containers": []}


def runs(machine: Machine) -> bool:
    app = web(machine)
    return app["state"] == "running" and all(c["pid"] for c in app["containers"])


def pids(machine: Machine) -> dict[str, tuple[int, str, int, int]]:
    return {
        c["container"]: (c["pid"], c["node"], c["incarnation"], c["restarts"])
        for c in web(machine)["containers"]
    }


def test_no_container_notices_that_the_master_was_killed(machine: Machine) -> None:
    machine.start_master()
    machine.start_agents()
    wait_for(lambda: machine.answers())
    assert machine.client.submit([APP])["apps"][0]["app"] == "web"
    wait_for(lambda: runs(machine))
    before = pids(machine)
    for _ in range(2):
        machine.kill_master()
        machine.start_master()
        wait_for(lambda: machine.answers() and runs(machine))
        assert pids(machine) == before
    # Killed as soon as it has acknowledged: the app is there afterwards all the same.
    late = {**APP, "app": "late", "constraints": []}
    machine.client.submit([late])
    machine.kill_master()
    assert all(alive(pid) for pid, *_ in before.values())
    machine.start_master()
    wait_for(lambda: machine.answers())
    wait_for(lambda: machine.client.app("late")["state"] == "running")
    assert pids(machine) == before
    machine.client.stop("web", 1.0)
    wait_for(lambda: [app["app"] for app in machine.client.apps()] == ["late"])
    wait_for(lambda: not any(alive(pid) for pid, *_ in before.values()))
