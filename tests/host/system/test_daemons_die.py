"""Daemons are killed without warning; what was acknowledged is kept, what runs goes on."""

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from colchis.client.http import Unreachable
from colchis.errors import ColchisError
from tests.host.system.lab import COLCHIS, Lab, service
from tests.support import alive, wait_for

ANTI = "{web, {web, 0, 0}, node}"


def running(lab: Lab, *apps: str) -> bool:
    """Whether the master knows of every container of the apps that it runs."""
    try:
        found = [c for app in apps for c in lab.containers(app).values()]
    except ColchisError:
        return False
    return bool(found) and all(c["state"] == "running" and c["pid"] for c in found)


def test_master_killed_and_started_again(lab: Lab) -> None:
    apps = {name: service(name, 2) for name in ("one", "two")}
    for app in apps.values():
        lab.run("run", "-", given=app)
    lab.run("suspend", "two")
    lab.run("constraint", "add", "{one, {two, 0, 5}, rack}", "--name", "kept")
    lives = lab.lives(*apps)
    for _ in range(2):
        lab.kill("master")
        lab.start("master")
        wait_for(lab.is_ready, "the nodes to be back")
        wait_for(lambda: running(lab, "one"), "one to be confirmed")
        wait_for(
            lambda: {c["state"] for c in lab.containers("two").values()} == {"suspended"},
            "two to be suspended still",
        )
        assert lab.lives(*apps) == lives
    assert all(alive(pid) for _, _, pid, _ in lives.values())
    assert [lab.copies(app) for app in apps] == [2, 2]
    rules = lab.json("constraint", "list")["constraints"]
    assert [rule["name"] for rule in rules] == ["kept"]
    lab.run("resume", "two")
    lab.run("constraint", "remove", "kept")
    lab.stop("one", "two")
    assert [lab.copies(app) for app in apps] == [0, 0]


def test_what_was_acknowledged_in_a_burst_is_there_after_a_kill(lab: Lab) -> None:
    numbers = count()
    acknowledged: list[str] = []

    def submit(_: int) -> None:
        with lab.client() as master:
            while True:
                name = f"burst-{next(numbers)}"
                try:
                    master.submit([service(name, resources={"cpus": 0.01, "memory": "8MiB"})])
                except Unreachable:
                    return
                acknowledged.append(name)

    with ThreadPoolExecutor(4) as threads:
        burst = threads.map(submit, range(4))
        wait_for(lambda: len(acknowledged) >= 20, "the burst to be under way")
        lab.kill("master")
        list(burst)
    lab.start("master")
    wait_for(lab.is_ready, "the nodes to be back")
    names = {app["app"] for app in lab.json("status")["apps"]}
    assert set(acknowledged) <= names
    with lab.client() as master:
        for name in names:
            master.stop(name, 1)
        wait_for(lambda: not master.apps(), "the burst to end")
    assert sum(lab.copies(name) for name in names) == 0


def test_agent_killed_again_and_again(lab: Lab) -> None:
    lab.run("run", "-", given=service("web", 4, ANTI))
    lives = lab.lives("web")
    name, (_, _, pid, node) = next(iter(lives.items()))
    follower = subprocess.Popen(
        [*COLCHIS, "logs", "-f", name],
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    assert "up" in follower.stdout.readline()
    for _ in range(5):
        welcomed = welcomes(lab, node)
        lab.kill(node)
        lab.start(node)
        wait_for(lambda: welcomes(lab, node) > welcomed, "the agent to be back")  # noqa: B023
        assert alive(pid)
    wait_for(lambda: running(lab, "web"), "web to be confirmed")
    assert lab.lives("web") == lives
    assert lab.copies("web") == 4
    assert "up" in lab.run("logs", name).stdout
    lab.stop("web")
    _, errors = follower.communicate(timeout=90)
    assert follower.returncode == 0, errors
    assert not alive(pid)


def welcomes(lab: Lab, node: str) -> int:
    """How often the master has welcomed the node's agent."""
    return lab.log(node).read_text().count("welcomed by the master")


def test_a_lost_node_is_replaced_within_the_rules_and_returns_in_peace(tmp_path: Path) -> None:
    rules = ["{web, {web, 0, 1}, node}", "{web, {web, 1, inf}, rack}"]
    with Lab(tmp_path) as lab:
        hard = [{"constraint": rule, "hard": True} for rule in rules]
        lab.run("run", "-", given=service("web", 4, *hard))
        before = lab.lives("web")
        lost = next(iter(before.values()))[3]
        on_it = {name for name, life in before.items() if life[3] == lost}
        lab.daemons[lost].send_signal(signal.SIGSTOP)
        wait_for(lambda: lab.node_states()[lost] == "lost", "the node to be lost")
        wait_for(
            lambda: (
                running(lab, "web")
                and all(c["node"] != lost for c in lab.containers("web").values())
            ),
            "its containers to run elsewhere",
        )
        after = lab.lives("web")
        assert {name for name in after if after[name] != before[name]} == on_it
        assert lab.json("status")["violations"] == 0
        # The node's containers have gone on all the while: for now there are two of each.
        assert all(alive(before[name][2]) for name in on_it)
        lab.daemons[lost].send_signal(signal.SIGCONT)
        wait_for(lab.is_ready, "the node to be back")
        wait_for(lambda: not any(alive(before[name][2]) for name in on_it), "the losers to stop")
        assert lab.lives("web") == after
        assert lab.copies("web") == 4


def test_a_host_that_dies_with_all_it_runs(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        lab.run("run", "-", given=service("web", 3, ANTI))
        before = lab.lives("web")
        name, (_, _, pid, node) = next(iter(before.items()))
        lab.kill(node)
        for shim in shims(tmp_path / "agents" / node):
            os.kill(shim, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lab.node_states()[node] == "lost", "the node to be lost")
        wait_for(
            lambda: running(lab, "web") and lab.containers("web")[name]["node"] != node,
            "its container to run elsewhere",
        )
        lab.start(node)
        wait_for(lab.is_ready, "the node to be back")
        assert {life[3] for life in lab.lives("web").values()} == set(lab.nodes) - {node}
        assert {k: v for k, v in lab.lives("web").items() if k != name} == {
            k: v for k, v in before.items() if k != name
        }
        assert lab.copies("web") == 3


def shims(state: Path) -> list[int]:
    """Processes that look after the containers of an agent with this state folder."""
    found = [
        int(json.loads(file.read_text())["shim"]["pid"])
        for file in (state / "containers").glob("*/shim.json")
    ]
    assert found
    return found


def test_a_key_that_is_not_allowed(lab: Lab, tmp_path: Path) -> None:
    lab.run("keygen", str(tmp_path), "--node=n9", "--node=n1")
    strangers = {
        "n9": {**lab.agent_settings("n9", "r1", 8), "key": str(tmp_path / "agents/n9.key")},
        "thief": {**lab.agent_settings("n1", "r1", 9), "key": str(tmp_path / "agents/n1.key")},
    }
    lab.run("run", "-", given=service("web"))
    lives = lab.lives("web")
    for name, settings in strangers.items():
        lab.settings[name] = {
            **settings,
            "state": str(tmp_path / name),
            "cgroup": f"{settings['cgroup']}-{name}",
        }
        refused = refusals(lab)
        lab.start(name)
        wait_for(lambda: refusals(lab) > refused, "a refusal")  # noqa: B023
        lab.kill(name)
    assert lab.node_states() == dict.fromkeys(lab.nodes, "ready")
    assert lab.lives("web") == lives
    lab.stop("web")


def refusals(lab: Lab) -> int:
    """How many connections the master has refused, by its log."""
    return lab.log("master").read_text().count("connection refused")
