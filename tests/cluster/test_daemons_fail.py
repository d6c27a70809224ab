"""Agents and masters that die, go back in time or are strangers; containers out of memory."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from colchis.cli.credentials import make_secrets
from colchis.semantics.checker import judge
from colchis.specs import app_to_dict, parse_apps
from tests.cluster.lab import Lab

MEMBERS = 10
STATE = "/var/lib/colchis"
WELCOME = "welcomed by the master"
UP = "the agent is up"
PLACED_AGAIN = 30.0
"""Seconds from the loss of a node until all it held runs elsewhere."""
# Each has the nine others on its node: the node that holds them holds them all.
HERD = """
app: herd
kind: service
groups:
  sheep:
    count: 10
    tags: [sheep]
    resources: {cpus: 0.05, memory: 32MiB}
    command: [sh, -c, 'echo here; exec sleep infinity']
constraints:
  - {name: together, constraint: "{sheep, {self/sheep, 9, 9}, node}", hard: true}
"""
GLUTTON = """
app: glutton
kind: batch
groups:
  eater:
    count: 1
    tags: [eater]
    resources: {cpus: 0.2, memory: 64MiB}
    command: [python, -c, 'held = [b"x" * 2**20 for _ in range(1000)]']
    restart: never
"""
# One on each node; each ends in a way of its own when a file appears on its host.
MORTALS = """
app: mortals
kind: batch
groups:
  soul:
    count: 4
    tags: [soul]
    resources: {cpus: 0.05, memory: 32MiB}
    command:
      - sh
      - -c
      - |
        number=${COLCHIS_CONTAINER##*/}
        while [ ! -e /tmp/ends ]; do sleep 0.2; done
        [ "$number" != 3 ] || kill -KILL $$
        exit $((40 + number))
    restart: never
constraints:
  - {name: apart, constraint: "{soul, {self/soul, 0, 0}, node}", hard: true}
"""


def submit(lab: Lab, text: str) -> None:
    with lab.client() as master:
        master.submit([app_to_dict(app) for app in parse_apps(text)])


@pytest.fixture(scope="module", autouse=True)
def herd(lab: Lab) -> None:
    submit(lab, HERD)
    settle(lab)


def members(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lab.app("herd")["containers"]
    return found


def has_said(lab: Lab, node: str, what: str, times: int) -> bool:
    return lab.said(node).count(what) >= times


def settle(lab: Lab) -> str:
    """The node that holds the herd, once every member runs, once."""
    wanted = Counter(f"herd/sheep/{number}" for number in range(MEMBERS))
    lab.until("all nodes are ready", lambda: lab.states() == Counter(ready=len(lab.nodes)))
    lab.until("every member runs", lambda: {c["state"] for c in members(lab)} == {"running"})
    lab.until("every member has one process", lambda: lab.processes() == wanted)
    (node,) = {c["node"] for c in members(lab)}
    return str(node)


def test_an_agent_killed_ten_times_keeps_its_containers(lab: Lab) -> None:
    node = settle(lab)
    before = lab.identities()
    welcomes = lab.said(node).count(WELCOME)
    for times in range(1, 11):
        lab.kill_agent(node)
        # An agent that is never heard for long enough is a node that is lost, and rightly so.
        lab.until("the next is heard", partial(has_said, lab, node, WELCOME, welcomes + times))
    settle(lab)
    assert lab.identities() == before
    assert {c["restarts"] for c in members(lab)} == {0}
    assert lab.colchis("logs", "herd/sheep/3").strip() == "here"


def test_a_container_out_of_memory_dies_alone(lab: Lab) -> None:
    settle(lab)
    before = lab.identities()
    submit(lab, GLUTTON)
    ended = lab.until("it ends", lambda: lab.app("glutton")["containers"][0]["exit"])
    assert ended["kind"] == "oom"
    settle(lab)
    assert lab.identities() == before


def test_a_host_with_a_strange_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    make_secrets(tmp_path, ["stranger"])
    (lab.keys / "agents/stranger.key").write_bytes((tmp_path / "agents/stranger.key").read_bytes())
    (lab.keys / "agents/stranger.key").chmod(0o600)
    lab.agent("stranger", "").start()
    try:
        lab.until("it is refused", lambda: "the key is not on the list" in lab.said("master"))
        with lab.client() as master:
            assert {node["node"] for node in master.nodes()} == set(lab.nodes)
    finally:
        lab.docker("stranger").remove(force=True)


def test_an_old_master_is_not_obeyed(lab: Lab) -> None:
    settle(lab)
    before = lab.identities()
    master = lab.docker("master")
    master.kill()
    old = b"".join(master.get_archive(STATE)[0])
    # Two lives on from there: an old master counts one life on by itself when it starts.
    for _ in range(2):
        master.start()
        settle(lab)
        master.kill()
    new = b"".join(master.get_archive(STATE)[0])

    master.put_archive(str(Path(STATE).parent), old)
    master.start()
    lab.until("it is refused", lambda: "it obeys a master of epoch" in lab.said("master"))
    assert lab.states()["ready"] == 0
    assert lab.identities() == before

    master.kill()
    master.put_archive(str(Path(STATE).parent), new)
    master.start()
    settle(lab)
    assert lab.identities() == before


def test_what_ends_while_agents_are_away_is_reported_once(lab: Lab) -> None:
    settle(lab)
    submit(lab, MORTALS)
    souls = {f"mortals/soul/{number}" for number in range(len(lab.nodes))}
    lab.until("they run", lambda: souls <= set(lab.processes()))
    seen = lab.until("all are seen to run", lambda: running_souls(lab, souls))
    assert {c["node"] for c in seen} == set(lab.nodes)
    since = lab.events()[-1]["seq"] + 1
    starts = {node: lab.said(node).count(UP) for node in lab.nodes}

    # Without a master nobody counts how long the agents are silent, however slow this machine is.
    lab.docker("master").kill()
    try:
        for node in lab.nodes:
            lab.hold_agent(node)
            lab.docker(node).exec_run(["touch", "/tmp/ends"])
        lab.until("all have ended", lambda: not souls & set(lab.processes()))
    finally:
        for node in lab.nodes:
            lab.release_agent(node)
    for node in lab.nodes:
        lab.until("its agent is up", partial(has_said, lab, node, UP, starts[node] + 1))
    lab.docker("master").start()

    known = lab.until("all ends are known", lambda: ends(lab, souls))
    reasons = {name: (end["kind"], end["code"], end["signal"]) for name, end in known.items()}
    assert reasons == {
        "mortals/soul/0": ("exited", 40, None),
        "mortals/soul/1": ("exited", 41, None),
        "mortals/soul/2": ("exited", 42, None),
        "mortals/soul/3": ("signal", None, 9),
    }
    settle(lab)
    reports = Counter(e["container"] for e in lab.events(since) if e["event"] == "ended")
    assert reports == Counter(souls)


def running_souls(lab: Lab, souls: set[str]) -> list[dict[str, Any]]:
    """The containers of the mortals, once all of them are running."""
    found: list[dict[str, Any]] = lab.app("mortals")["containers"]
    return found if [c["state"] for c in found] == ["running"] * len(souls) else []


def ends(lab: Lab, souls: set[str]) -> dict[str, dict[str, Any]]:
    """How each ended, once that is known of all of them."""
    found = {c["container"]: c["exit"] for c in lab.app("mortals")["containers"] if c["exit"]}
    return found if set(found) == souls else {}


def test_ten_containers_of_a_dead_host_are_placed_again(lab: Lab) -> None:
    victim = settle(lab)
    since = lab.events()[-1]["seq"] + 1
    lab.docker(victim).kill()
    lab.until("the node is lost", lambda: lab.states()["lost"] == 1)
    lab.until("none is there any more", lambda: victim not in {c["node"] for c in members(lab)})
    lab.until("every member runs", lambda: {c["state"] for c in members(lab)} == {"running"})
    assert judge(lab.cluster()).hard == ()
    happened = lab.events(since)
    (lost,) = [e["time"] for e in happened if e["text"] == f"node {victim} is lost"]
    again = {e["container"]: e["time"] for e in happened if e["text"].endswith(" is running")}
    assert set(again) == {f"herd/sheep/{number}" for number in range(MEMBERS)}
    # By the master's own clock, so that what this test itself waits for is not counted.
    assert max(again.values()) - lost < PLACED_AGAIN
    lab.docker(victim).start()
    assert settle(lab) != victim
