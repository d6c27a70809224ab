"""Hosts that are taken away, and come back: nothing is lost, nothing runs twice."""

from collections import Counter

import pytest

from colchis.semantics.checker import judge
from tests.cluster.lab import Lab

MEMBERS = {
    "hbase/master/0",
    *(f"hbase/region-server/{number}" for number in range(3)),
    *(f"tensorflow/ps/{number}" for number in range(2)),
    *(f"tensorflow/worker/{number}" for number in range(3)),
    "tensorflow/chief/0",
}
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
    return {*running(lab, "hbase"), *running(lab, "tensorflow")} == MEMBERS


def settle(lab: Lab) -> None:
    """Wait until every node is ready and every container runs, once, as the kernel counts."""
    lab.until("all nodes are ready", lambda: lab.states() == Counter(ready=len(lab.nodes)))
    lab.until("everything runs", lambda: everything_runs(lab))
    lab.until("every container has one process", lambda: lab.processes() == Counter(MEMBERS))


def hard_rules_hold(lab: Lab) -> None:
    assert judge(lab.cluster()).hard == ()


def test_both_apps_are_placed_by_their_constraints(lab: Lab) -> None:
    settle(lab)
    judgement = judge(lab.cluster())
    assert judgement.hard == ()
    assert judgement.subjects == len(MEMBERS)


def test_a_host_that_dies_is_replaced_within_the_rules(lab: Lab) -> None:
    settle(lab)
    victim = running(lab, "hbase")["hbase/master/0"]
    lab.docker(victim).kill()
    lab.until("the node is lost", lambda: lab.states()["lost"] == 1)
    lab.until("everything runs elsewhere", lambda: everything_runs(lab))
    assert victim not in {*running(lab, "hbase").values(), *running(lab, "tensorflow").values()}
    hard_rules_hold(lab)
    lab.docker(victim).start()
    settle(lab)


def test_a_host_cut_off_and_healed_ends_what_was_replaced(lab: Lab) -> None:
    settle(lab)
    victim = running(lab, "hbase")["hbase/region-server/0"]
    lab.cut(victim)
    lab.until("the node is lost", lambda: lab.states()["lost"] == 1)
    lab.until("everything runs elsewhere", lambda: everything_runs(lab))
    hard_rules_hold(lab)
    lab.heal(victim)
    settle(lab)


def test_a_host_paused_for_a_moment_keeps_everything(lab: Lab) -> None:
    settle(lab)
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
    settle(lab)
    after = {
        container["container"]: (container["node"], container["incarnation"])
        for name in ("hbase", "tensorflow")
        for container in lab.app(name)["containers"]
    }
    elsewhere = {name for name in before if before[name][0] != victim}
    assert {name: after[name] for name in elsewhere} == {n: before[n] for n in elsewhere}


def test_the_master_killed_and_started_again_disturbs_nothing(lab: Lab) -> None:
    settle(lab)
    before = lab.identities()
    lab.docker("master").kill()
    lab.docker("master").start()
    settle(lab)
    assert lab.identities() == before


def test_stopped_apps_leave_nothing(lab: Lab) -> None:
    lab.colchis("stop", "hbase", "tensorflow", "--grace", "3")
    lab.until("no process is left", lambda: not lab.processes())
