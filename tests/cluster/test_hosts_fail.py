"""Hosts that are taken away, and come back: nothing is lost, nothing runs twice."""

from collections import Counter

import pytest

from colchis.semantics.checker import judge
from tests.cluster.lab import Lab

HBASE = 4
TENSORFLOW = 6
EXAMPLES = "/opt/colchis/examples"


@pytest.fixture(scope="module", autouse=True)
def apps(lab: Lab) -> None:
    """Both example apps, submitted from a host of their own."""
    specs = [f"{EXAMPLES}/hbase/hbase.yaml", f"{EXAMPLES}/tensorflow/tensorflow.yaml"]
    lab.colchis("run", *specs, "--timeout", "150")


def running(lab: Lab, name: str) -> dict[str, str]:
    """Containers of an app that run, and where."""
    return {
        container["container"]: container["node"]
        for container in lab.app(name)["containers"]
        if container["state"] == "running"
    }


def everything_runs(lab: Lab) -> bool:
    return len(running(lab, "hbase")) == HBASE and len(running(lab, "tensorflow")) == TENSORFLOW


def each_runs_once(lab: Lab) -> None:
    """As the kernel counts, not the master."""
    wanted = Counter([*running(lab, "hbase"), *running(lab, "tensorflow")])
    lab.until("every container has one main process", lambda: lab.processes() == wanted)


def hard_rules_hold(lab: Lab) -> None:
    assert judge(lab.cluster()).hard == ()


def test_both_apps_are_placed_by_their_constraints(lab: Lab) -> None:
    assert everything_runs(lab)
    judgement = judge(lab.cluster())
    assert judgement.hard == ()
    assert judgement.subjects == HBASE + TENSORFLOW
    each_runs_once(lab)


def test_a_host_that_dies_is_replaced_within_the_rules(lab: Lab) -> None:
    victim = running(lab, "hbase")["hbase/master/0"]
    lab.docker(victim).kill()
    lab.until("the node is lost", lambda: lab.states()["lost"] == 1)
    lab.until("everything runs elsewhere", lambda: everything_runs(lab))
    assert victim not in {*running(lab, "hbase").values(), *running(lab, "tensorflow").values()}
    hard_rules_hold(lab)
    each_runs_once(lab)
    lab.docker(victim).start()
    lab.until("the node is back", lambda: lab.states() == Counter(ready=len(lab.nodes)))
    each_runs_once(lab)


def test_a_host_cut_off_and_healed_ends_what_was_replaced(lab: Lab) -> None:
    victim = running(lab, "hbase")["hbase/region-server/0"]
    lab.cut(victim)
    lab.until("the node is lost", lambda: lab.states()["lost"] == 1)
    lab.until("everything runs elsewhere", lambda: everything_runs(lab))
    hard_rules_hold(lab)
    lab.heal(victim)
    lab.until("the node is back", lambda: lab.states() == Counter(ready=len(lab.nodes)))
    each_runs_once(lab)


def test_a_host_paused_for_a_moment_keeps_everything(lab: Lab) -> None:
    before = {
        container["container"]: (container["node"], container["incarnation"])
        for name in ("hbase", "tensorflow")
        for container in lab.app(name)["containers"]
    }
    victim = running(lab, "tensorflow")["tensorflow/ps/0"]
    host = lab.docker(victim)
    host.pause()
    try:
        lab.until("the master misses it", lambda: lab.states()["ready"] < len(lab.nodes))
    finally:
        host.unpause()
    lab.until("the node is back", lambda: lab.states() == Counter(ready=len(lab.nodes)))
    lab.until("everything runs", lambda: everything_runs(lab))
    each_runs_once(lab)
    after = {
        container["container"]: (container["node"], container["incarnation"])
        for name in ("hbase", "tensorflow")
        for container in lab.app(name)["containers"]
    }
    elsewhere = {name for name in before if before[name][0] != victim}
    assert {name: after[name] for name in elsewhere} == {n: before[n] for n in elsewhere}


def test_the_master_killed_and_started_again_disturbs_nothing(lab: Lab) -> None:
    before = lab.processes()
    lab.docker("master").kill()
    lab.docker("master").start()
    lab.until("all nodes are back", lambda: lab.states() == Counter(ready=len(lab.nodes)))
    lab.until("everything runs", lambda: everything_runs(lab))
    assert lab.processes() == before


def test_stopped_apps_leave_nothing(lab: Lab) -> None:
    lab.colchis("stop", "hbase", "tensorflow", "--grace", "3")
    lab.until("no process is left", lambda: not lab.processes())
