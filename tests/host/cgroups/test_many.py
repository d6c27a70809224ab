"""Many groups are measured, frozen and thawed at once, with cgroups and without."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colchis_agent.cgroups import CgroupTree, Limits, NoCgroups
from colchis_agent.driver import ContainerRef, ProcessDriver
from colchis_agent.service.sampling import Sampler
from tests.host.support import SLEEP, python, run_in
from tests.support import wait_for

PARENT = f"import os\nos.fork()\n{SLEEP}"


def test_each_group_has_its_own_figures(any_tree: CgroupTree) -> None:
    processes = []
    for name, command in (("one", python(SLEEP)), ("two", python(PARENT)), ("none", [])):
        any_tree.create(name, Limits())
        if command:
            processes.append(run_in(any_tree, name, command))

    def pids() -> dict[str, int]:
        found = any_tree.usages(["one", "two", "none", "gone"])
        return {name: usage.pids for name, usage in found.items()}

    wait_for(lambda: pids() == {"one": 1, "two": 2, "none": 0})
    assert any_tree.kill_all("one", timeout=60) and any_tree.kill_all("two", timeout=60)
    for process in processes:
        process.wait()
    wait_for(lambda: pids() == {"one": 0, "two": 0, "none": 0})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Folders that were listed."""
    found: list[object] = []
    scandir = os.scandir

    def counted(path: Any = ".") -> Iterator[os.DirEntry[str]]:
        found.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    return found


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[tuple[ProcessDriver, list[ContainerRef]]]:
    """Several containers without cgroups, and their driver."""
    tree = NoCgroups(tmp_path / "groups")
    driver = ProcessDriver(tmp_path / "containers", tree)
    refs = [ContainerRef(f"app/web/{index}") for index in range(4)]
    for ref in refs:
        tree.create(driver.group(ref), Limits())
    processes = [run_in(tree, driver.group(ref), python(SLEEP)) for ref in refs]
    yield driver, refs
    for ref, process in zip(refs, processes, strict=True):
        assert tree.kill_all(driver.group(ref), timeout=60)
        process.wait()
    driver.close()


def test_without_cgroups_all_processes_are_read_once_for_all_containers(
    tmp_path: Path, crowd: tuple[ProcessDriver, list[ContainerRef]], looks: list[object]
) -> None:
    driver, refs = crowd
    sampler = Sampler(driver, tmp_path, None)
    looks.clear()
    _, usage, _ = sampler.sample(refs)
    assert looks.count("/proc") == 1
    assert {name: one.pids for name, one in usage.items()} == {r.container: 1 for r in refs}


def test_without_cgroups_all_are_suspended_by_two_looks_and_resumed_by_one(
    crowd: tuple[ProcessDriver, list[ContainerRef]], looks: list[object]
) -> None:
    driver, refs = crowd
    looks.clear()
    assert driver.suspend(refs).keys() == set(refs)
    assert looks.count("/proc") == 2
    wait_for(lambda: all(map(driver.is_suspended, refs)), "suspended")
    assert driver.suspend(refs) == dict.fromkeys(refs, True)
    looks.clear()
    assert driver.resume(refs) == dict.fromkeys(refs)
    assert looks.count("/proc") == 1
    wait_for(lambda: not any(map(driver.is_suspended, refs)), "resumed")
