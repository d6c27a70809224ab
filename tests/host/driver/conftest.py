"""A driver over real cgroups (and one without any), whose containers are gone afterwards."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from colchis_agent.cgroups import CgroupTree, NoCgroups, open_tree
from colchis_agent.driver import ContainerRef, DriverError, ProcessDriver
from tests.support import wait_for


class World:
    """What an agent finds again after its death: a state folder and a cgroup tree."""

    def __init__(self, root: Path, make_tree: Callable[[], CgroupTree]) -> None:
        self.root = root
        self.make_tree = make_tree
        self.tree = make_tree()
        self.driver = ProcessDriver(root, self.tree)
        self._drivers = [self.driver]
        self.ref = ContainerRef("app/web/0", 1)

    def reopened(self) -> ProcessDriver:
        """The driver of an agent that has just been restarted."""
        driver = ProcessDriver(self.root, self.make_tree())
        self._drivers.append(driver)
        return driver

    def folder(self, ref: ContainerRef | None = None) -> Path:
        """The state folder of a container."""
        return self.root / self.driver.group(ref or self.ref)

    def _discarded(self, ref: ContainerRef) -> bool:
        self.driver.kill(ref)
        try:
            self.driver.discard(ref)
        except DriverError:
            return False
        return True

    def close(self) -> None:
        """End everything and check that nothing is left."""
        for driver in self._drivers:
            driver.close()
        for ref in self.driver.adopt_all():
            wait_for(partial(self._discarded, ref), f"the end of {ref}")
        assert list(self.root.iterdir()) == []
        for name in self.tree.names():
            assert name == "_shims"
            assert self.tree.kill_all(name, timeout=60)
            self.tree.remove(name)
        self.tree.close()


def _world(kind: str) -> Iterator[World]:
    # Not below pytest's own folders, which are closed to other users.
    root = Path(tempfile.mkdtemp(prefix="colchis-driver-"))
    root.chmod(0o711)
    name = f"colchis-test-{uuid.uuid4().hex[:8]}"

    def make_tree() -> CgroupTree:
        return NoCgroups(root / "groups") if kind == "none" else open_tree(name)

    world = World(root / "containers", make_tree)
    yield world
    world.close()
    shutil.rmtree(root)


@pytest.fixture
def world() -> Iterator[World]:
    """An agent's world with real cgroups."""
    yield from _world("cgroups")


@pytest.fixture(params=["cgroups", "none"])
def any_world(request: pytest.FixtureRequest) -> Iterator[World]:
    """What must hold with cgroups and without."""
    yield from _world(request.param)
