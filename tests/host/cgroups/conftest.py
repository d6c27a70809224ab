"""A tree of this host's kind, and one without cgroups, each removed without a trace."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from colchis_agent.cgroups import CgroupTree, NoCgroups, open_tree


def _emptied(tree: CgroupTree) -> None:
    for name in tree.names():
        assert tree.kill_all(name, timeout=60)
        tree.remove(name)
    tree.close()


@pytest.fixture
def tree() -> Iterator[CgroupTree]:
    """Real cgroups, v1 or v2, whatever this host has."""
    opened = open_tree(f"colchis-test-{uuid.uuid4().hex[:8]}")
    assert opened.kind in {"v1", "v2"}, "these tests need root and cgroups"
    yield opened
    _emptied(opened)


@pytest.fixture(params=["cgroups", "none"])
def any_tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CgroupTree]:
    """What every kind of tree must do."""
    if request.param == "none":
        opened: CgroupTree = NoCgroups(tmp_path / "groups")
    else:
        opened = open_tree(f"colchis-test-{uuid.uuid4().hex[:8]}")
        assert opened.kind in {"v1", "v2"}, "these tests need root and cgroups"
    yield opened
    _emptied(opened)
