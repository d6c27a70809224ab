"""The stand-in for the master, one for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.examples.support import FakeMaster, fake_master


@pytest.fixture
def colchis(tmp_path: Path) -> Iterator[FakeMaster]:
    with fake_master(tmp_path) as master:
        yield master
