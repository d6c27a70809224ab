"""Limits hold, and are counted, for the group they are set on and for no other."""

import time
from pathlib import Path

import pytest

from colchis_agent.cgroups import CgroupError, CgroupTree, Limits, NoCgroups
from tests.host.support import BURN, SLEEP, python, run_in
from tests.support import wait_for

MIB = 1 << 20
FORK_BOMB = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.05)
"""


def test_cpu_limit_holds_back_what_wants_more(tree: CgroupTree) -> None:
    tree.create("held", Limits(cpus=0.2))
    began = time.monotonic()
    process = run_in(tree, "held", python(BURN))
    wait_for(lambda: tree.usage("held").throttled >= 5, "throttling")
    used = tree.usage("held").cpu_seconds
    elapsed = time.monotonic() - began
    tree.kill_all("held")
    process.wait()
    # One period's quota may be used in advance, per core a slice more.
    assert used <= 0.2 * elapsed + 0.2


def test_no_cpu_limit_throttles_nobody(tree: CgroupTree) -> None:
    tree.create("free", Limits())
    process = run_in(tree, "free", python(BURN))
    wait_for(lambda: tree.usage("free").cpu_seconds > 0.3, "cpu use")
    usage = tree.usage("free")
    tree.kill_all("free")
    process.wait()
    assert usage.throttled == 0


def test_out_of_memory_kills_in_its_own_group_only(tree: CgroupTree) -> None:
    tree.create("greedy", Limits(memory_bytes=32 * MIB))
    tree.create("modest", Limits(memory_bytes=64 * MIB))
    modest = run_in(tree, "modest", python(SLEEP))
    greedy = run_in(tree, "greedy", python(f"x = b'x' * {256 * MIB}"))
    assert greedy.wait(60) == -9
    assert tree.usage("greedy").oom_kills == 1
    assert tree.usage("modest").oom_kills == 0
    assert modest.poll() is None
    tree.kill_all("modest")
    modest.wait()


def test_memory_is_measured(tree: CgroupTree) -> None:
    tree.create("holder", Limits(memory_bytes=256 * MIB))
    process = run_in(tree, "holder", python(f"x = b'x' * {64 * MIB}; {SLEEP}"))
    wait_for(lambda: tree.usage("holder").memory_bytes > 64 * MIB, "memory use")
    tree.kill_all("holder")
    process.wait()


def test_fork_bomb_is_bounded_and_cleared_at_once(tree: CgroupTree) -> None:
    tree.create("bomb", Limits(pids=30, cpus=0.5))
    process = run_in(tree, "bomb", python(FORK_BOMB))
    wait_for(lambda: tree.usage("bomb").pids == 30, "the bomb to fill its group")
    assert len(tree.pids("bomb")) <= 30
    assert tree.kill_all("bomb", timeout=60)
    process.wait()
    assert tree.pids("bomb") == ()


def test_limits_can_be_lifted(tree: CgroupTree) -> None:
    tree.create("later", Limits(pids=1, memory_bytes=32 * MIB, cpus=0.1))
    tree.set_limits("later", Limits())
    forks = f"import os; x = b'x' * {64 * MIB}; os._exit(0 if os.fork() else 0)"
    assert run_in(tree, "later", python(forks)).wait(60) == 0
    assert tree.usage("later").oom_kills == 0


def test_a_host_with_all_controllers_enforces_everything(tree: CgroupTree) -> None:
    assert tree.unenforced() == ()


def test_without_cgroups_it_says_that_nothing_is_enforced(tmp_path: Path) -> None:
    assert NoCgroups(tmp_path / "groups").unenforced() == ("cpus", "memory", "pids", "freezer")


def test_a_negative_limit_is_refused_by_the_kernel(tree: CgroupTree) -> None:
    with pytest.raises(CgroupError, match="limit group odd"):
        tree.create("odd", Limits(pids=-5))
