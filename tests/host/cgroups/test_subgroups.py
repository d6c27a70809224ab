"""A container with a delegated group freezes parts of itself, and stays within its limits."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from colchis_agent.cgroups import CgroupTree, Limits, join, open_own_tree, open_tree
from tests.support import wait_for

NOBODY = 65534


def _as_container(tree: CgroupTree, name: str, body: Callable[[], int]) -> int:
    """Fork a member of the group that runs ``body`` as nobody and exits with its result."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        join(tree.procs_files(name))
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        code = body()
    finally:
        os._exit(code)


def _spin() -> int:
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    return pid


def _freeze_one_slot() -> int:
    own = open_own_tree()
    if own.kind == "none":
        return 10
    spinner, idle = _spin(), _spin()
    for slot, pid in (("slot0", spinner), ("slot1", idle)):
        own.create(slot, Limits())
        own.add(slot, pid)
    own.freeze("slot0")
    wait_for(lambda: own.is_frozen("slot0"))
    if own.is_frozen("slot1"):
        return 11
    if own.pids("slot0") != (spinner,):
        return 12
    own.thaw("slot0")
    wait_for(lambda: not own.is_frozen("slot0"))
    for slot, pid in (("slot0", spinner), ("slot1", idle)):
        if not own.kill_all(slot, timeout=60):
            return 13
        os.waitpid(pid, 0)
        own.remove(slot)
    return 0 if own.names() == () else 14


def _leave_a_frozen_slot() -> int:
    own = open_own_tree()
    own.create("slot0", Limits())
    own.add("slot0", _spin())
    own.freeze("slot0")
    wait_for(lambda: own.is_frozen("slot0"))
    signal.pause()
    return 0


def _kind_is_none() -> int:
    own = open_own_tree()
    own.close()
    return 0 if own.kind == "none" else 1


def test_an_executor_freezes_one_slot_of_its_own(tree: CgroupTree) -> None:
    tree.create("executor", Limits(pids=20))
    tree.delegate("executor", NOBODY, NOBODY)
    pid = _as_container(tree, "executor", _freeze_one_slot)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_processes_in_slots_count_for_the_container(tree: CgroupTree) -> None:
    tree.create("executor", Limits(pids=20))
    tree.delegate("executor", NOBODY, NOBODY)
    pid = _as_container(tree, "executor", _leave_a_frozen_slot)
    wait_for(lambda: len(tree.pids("executor")) == 2, "the slot")
    assert tree.usage("executor").pids == 2
    # Killed whole, though one of its slots was frozen by itself.
    assert tree.kill_all("executor", timeout=60)
    os.waitpid(pid, 0)
    tree.remove("executor")
    assert not tree.exists("executor")


def test_without_delegation_slots_fall_back_to_signals(tree: CgroupTree) -> None:
    tree.create("executor", Limits())
    pid = _as_container(tree, "executor", _kind_is_none)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _with_delegation(kind: str) -> int:
    """As an agent without root in a cgroup that is its own: v2 gives it everything."""
    fallback = Path(tempfile.mkdtemp(prefix="colchis-test-"))
    own = open_tree("agent", fallback / "groups")
    if own.kind != kind:
        return 20
    own.create("container", Limits(cpus=0.5, memory_bytes=64 << 20, pids=7))
    own.add("container", _spin())
    own.freeze("container")
    wait_for(lambda: own.is_frozen("container"))
    if kind == "v2" and (own.unenforced() or own.usage("container").pids != 1):
        return 21
    if kind == "none" and "pids" not in own.unenforced():
        return 22
    if not own.kill_all("container", timeout=60):
        return 23
    os.wait()
    own.remove("container")
    own.close()
    fallback.rmdir()
    return 0


def test_an_agent_without_root_uses_what_is_delegated_to_it(tree: CgroupTree) -> None:
    tree.create("user", Limits())
    tree.delegate("user", NOBODY, NOBODY)
    kind = "none"
    if tree.kind == "v2":
        kind = "v2"
        os.chown(tree.procs_files("user")[0].with_name("cgroup.subtree_control"), NOBODY, NOBODY)
    pid = _as_container(tree, "user", lambda: _with_delegation(kind))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_agent_without_anything_still_suspends(tree: CgroupTree) -> None:
    tree.create("user", Limits())
    pid = _as_container(tree, "user", lambda: _with_delegation("none"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
