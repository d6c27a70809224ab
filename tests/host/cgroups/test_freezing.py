"""Freezing, thawing and killing, with cgroups and without."""

import os
import time
import uuid
from pathlib import Path

import pytest

from colchis_agent.cgroups import (
    CgroupError,
    CgroupTree,
    Limits,
    NoCgroups,
    join,
    open_tree,
)
from tests.host.support import BURN, SLEEP, python, run_in
from tests.support import wait_for

TWO_BURNERS = f"import os\nos.fork()\n{BURN}"


def test_frozen_uses_no_cpu_and_goes_on_when_thawed(any_tree: CgroupTree) -> None:
    any_tree.create("work", Limits())
    process = run_in(any_tree, "work", python(TWO_BURNERS))
    wait_for(lambda: any_tree.usage("work").cpu_seconds > 0.1, "cpu use")
    any_tree.freeze("work")
    wait_for(lambda: any_tree.is_frozen("work"), "frozen")
    before = wait_for(lambda: settled_usage(any_tree), "its last moments to be counted")
    time.sleep(0.5)
    assert any_tree.usage("work").cpu_seconds == before
    any_tree.thaw("work")
    wait_for(lambda: any_tree.usage("work").cpu_seconds > before + 0.05, "cpu use after the thaw")
    assert not any_tree.is_frozen("work")
    assert any_tree.kill_all("work", timeout=60)
    process.wait()


def test_what_is_forked_while_its_parent_is_stopped_is_frozen_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = NoCgroups(tmp_path / "groups")
    tree.create("work", Limits())
    fork = tmp_path / "fork"
    wait = f"import os, time\nwhile not os.path.exists({str(fork)!r}): time.sleep(0.01)\n"
    process = run_in(tree, "work", python(f"{wait}os.fork()\n{BURN}"))
    kill = os.kill

    def late(pid: int, number: int) -> None:
        if not fork.exists():
            fork.touch()
            wait_for(lambda: len(tree.pids("work")) == 2, "the fork")
        kill(pid, number)

    monkeypatch.setattr(os, "kill", late)
    tree.freeze("work")
    wait_for(lambda: tree.is_frozen("work"), "frozen")
    assert len(tree.pids("work")) == 2
    assert tree.kill_all("work", timeout=60)
    process.wait()
    tree.remove("work")


def settled_usage(tree: CgroupTree) -> float | None:
    """Seconds of cpu of the group; None while there are still more."""
    used = tree.usage("work").cpu_seconds
    time.sleep(0.1)
    return used if tree.usage("work").cpu_seconds == used else None


def test_what_is_frozen_can_be_killed(any_tree: CgroupTree) -> None:
    any_tree.create("ice", Limits())
    process = run_in(any_tree, "ice", python(TWO_BURNERS))
    wait_for(lambda: len(any_tree.pids("ice")) == 2, "both processes")
    any_tree.freeze("ice")
    wait_for(lambda: any_tree.is_frozen("ice"), "frozen")
    assert any_tree.kill_all("ice", timeout=60)
    assert process.wait(60) == -9
    assert any_tree.pids("ice") == ()


def test_freezing_one_group_leaves_the_other_running(any_tree: CgroupTree) -> None:
    for name in ("one", "two"):
        any_tree.create(name, Limits())
    processes = [run_in(any_tree, name, python(BURN)) for name in ("one", "two")]
    any_tree.freeze("one")
    wait_for(lambda: any_tree.is_frozen("one"), "frozen")
    before = any_tree.usage("two").cpu_seconds
    wait_for(lambda: any_tree.usage("two").cpu_seconds > before, "the other's cpu use")
    assert not any_tree.is_frozen("two")
    for name in ("one", "two"):
        assert any_tree.kill_all(name, timeout=60)
    for process in processes:
        process.wait()


def test_of_several_groups_those_that_do_not_exist_are_told(any_tree: CgroupTree) -> None:
    any_tree.create("one", Limits())
    process = run_in(any_tree, "one", python(BURN))
    wait_for(lambda: any_tree.freeze_all(["gone", "one"])["one"] is True, "frozen")
    assert isinstance(any_tree.freeze_all(["gone", "one"])["gone"], CgroupError)
    found = any_tree.thaw_all(["gone", "one"])
    assert isinstance(found["gone"], CgroupError) and found["one"] is None
    assert any_tree.kill_all("one", timeout=60)
    process.wait()


def test_groups_are_named_taken_over_and_removed(any_tree: CgroupTree) -> None:
    any_tree.create("b", Limits())
    any_tree.create("a", Limits())
    any_tree.create("a", Limits())
    assert any_tree.names() == ("a", "b")
    assert any_tree.exists("a")
    any_tree.remove("a")
    any_tree.remove("a")
    assert any_tree.names() == ("b",)
    assert not any_tree.exists("a")
    assert any_tree.kill("a")


def test_a_group_with_processes_is_not_removed(any_tree: CgroupTree) -> None:
    any_tree.create("full", Limits())
    process = run_in(any_tree, "full", python(SLEEP))
    with pytest.raises(CgroupError):
        any_tree.remove("full")
    assert any_tree.pids("full") == (process.pid,)
    any_tree.kill_all("full")
    process.wait()


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 256])
def test_names_cannot_leave_the_tree(any_tree: CgroupTree, name: str) -> None:
    with pytest.raises(CgroupError, match="cannot name"):
        any_tree.create(name, Limits())


@pytest.mark.parametrize("operation", ["freeze", "thaw", "usage", "is_frozen"])
def test_a_group_that_does_not_exist_is_an_error(any_tree: CgroupTree, operation: str) -> None:
    with pytest.raises(CgroupError):
        getattr(any_tree, operation)("nobody")


def test_what_is_left_of_a_group_exists_until_it_is_removed(tree: CgroupTree) -> None:
    tree.create("half", Limits())
    folders = [file.parent for file in tree.procs_files("half")]
    for folder in folders[1:]:
        folder.rmdir()
    assert tree.exists("half")
    tree.remove("half")
    assert not tree.exists("half")
    assert not any(folder.exists() for folder in folders)


def test_no_folder_is_left_behind() -> None:
    tree = open_tree(f"colchis-test-{uuid.uuid4().hex[:8]}")
    tree.create("x", Limits(cpus=1, pids=10))
    folders = [file.parent for file in tree.procs_files("x")]
    assert all(folder.is_dir() for folder in folders)
    tree.remove("x")
    tree.close()
    assert not any(folder.parent.exists() for folder in folders)


def test_a_child_joins_by_itself(any_tree: CgroupTree) -> None:
    any_tree.create("own", Limits())
    pid = os.fork()
    if pid == 0:
        join(any_tree.procs_files("own"))
        time.sleep(3600)
        os._exit(0)
    wait_for(lambda: any_tree.pids("own") == (pid,), "the child to join")
    assert any_tree.kill_all("own", timeout=60)
    assert os.waitpid(pid, 0)[1] == 9
