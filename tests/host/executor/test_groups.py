"""An executor in a cgroup of its own freezes its slots through cgroups."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from colchis.wire import tasks as wire
from tests.host.executor.bench import bench
from tests.host.executor.test_executor import stuck
from tests.support import wait_for

ROOTS = {"v1": Path("/sys/fs/cgroup/freezer"), "v2": Path("/sys/fs/cgroup")}


@pytest.fixture
def group() -> Iterator[Path]:
    """A container's group in the hierarchy that has a freezer here."""
    root = ROOTS["v1"] if ROOTS["v1"].is_dir() else ROOTS["v2"]
    made = root / f"colchis-test-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    yield made
    for folder in sorted(made.rglob("*/"), reverse=True):
        if folder.is_dir():
            folder.rmdir()
    made.rmdir()


def frozen_slots(group: Path) -> list[str]:
    """The slots' groups that are frozen, by either interface."""
    return [
        slot.name
        for slot in sorted(group.glob("slot-*"))
        for name, word in (("freezer.state", "FROZEN"), ("cgroup.events", "frozen 1"))
        if (slot / name).exists() and word in (slot / name).read_text()
    ]


def test_slots_are_frozen_and_killed_through_their_groups(tmp_path: Path, group: Path) -> None:
    with bench(tmp_path, cores=1, group=group) as made:
        task = made.launch(stuck(str(tmp_path)), [0])
        wait_for((tmp_path / "stuck").exists)
        assert made.suspend(task).rung == "frozen"
        assert len(frozen_slots(group)) == 1
        assert made.result(made.call(pow, 2, 5)) == 32
        made.resume(task)
        assert frozen_slots(group) == []
        assert made.suspend(task).rung == "frozen"
        made.send(wire.Cancel(task, 0.0))
        assert made.expect(wire.Cancelled).attempt == task
        wait_for(lambda: frozen_slots(group) == [])
        assert made.result(made.call(pow, 2, 5)) == 32
    assert not list(group.glob("slot-*"))
