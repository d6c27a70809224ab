"""Files to work on, and a fake cluster behind the real API with a connection file for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from colchis.client.connection import Connection, write_connection
from tests.unit.api.fake_control import FakeControl
from tests.unit.api.serving import ADMIN, serve

CLUSTER = """\
nodes:
  - {name: n1, cpus: 8, memory: 16GiB, groups: {rack: r1}}
  - {name: n2, cpus: 8, memory: 16GiB, groups: {rack: r1}}
  - {name: n3, cpus: 8, memory: 16GiB, groups: {rack: r2}}
containers:
  - {container: old/w/0, node: n1, tags: [w], resources: {cpus: 6, memory: 1GiB}}
"""

WEB = """\
app: web
groups:
  w: {count: 3, tags: [w], resources: {cpus: 4, memory: 1GiB}, command: [sleep, "60"]}
constraints:
  - {name: apart, constraint: "{w, {w, 0, 0}, node}", weight: 2}
"""

HUGE = """\
app: huge
groups: {w: {count: 1, resources: {cpus: 64}, command: [sleep, "60"]}}
"""

WRONG = """\
app: web
kind: servcie
groups:
  w:
    cuont: 3
    resources: {cpus: 1, memory: 2Gig}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files in it; no master is known."""
    for name, text in (("cluster", CLUSTER), ("web", WEB), ("huge", HUGE), ("wrong", WRONG)):
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLCHIS_CONNECTION", str(tmp_path / "connection.json"))
    return tmp_path


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def live(files: Path, control: FakeControl) -> Iterator[FakeControl]:
    """A master that answers at the address in the connection file."""
    with serve(control) as url:
        write_connection(files / "connection.json", Connection(url, ADMIN))
        yield control
