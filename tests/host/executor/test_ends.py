"""Drivers that end in the middle of their work leave nothing behind, whatever they were about."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import colchis.jobs
from colchis.errors import ColchisError
from colchis.jobs.local import LocalCluster
from tests.host.executor.bench import descendants
from tests.host.executor.local import cluster
from tests.support import DEADLINE, alive, wait_for

STREAMS = """
import itertools, os, pathlib, sys, time
import colchis.jobs
from colchis.jobs.sources import Generator
runs = pathlib.Path(sys.argv[1])
def work(record):
    (runs / str(record)).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
        colchis.jobs.task.checkpoint()
def wait(batches):
    for batch in batches:
        print(batch)
with colchis.jobs.connect("local", cores=1) as cluster:
    parts = [cluster.local.service, *cluster.local.executors.values()]
    print(cluster.local.folder, *(part.pid for part in parts), flush=True)
    streams = [
        cluster.stream(Generator(itertools.count(first, 10), rate=100)).map(work).every(0.01)
        for first in (0, 1)
    ]
    wait(streams[0])
"""


@contextmanager
def driver(script: str, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """A script of its own, which ends with the block at the latest."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_interrupt_while_streams_run(tmp_path: Path) -> None:
    with driver(STREAMS, str(tmp_path)) as process:
        assert process.stdout is not None
        folder, *parts = process.stdout.readline().split()
        slots = wait_for(lambda: {int(text) for f in tmp_path.iterdir() if (text := f.read_text())})
        pids = {pid for part in map(int, parts) for pid in {part} | descendants(part)}
        assert slots <= pids
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
    assert "KeyboardInterrupt" in errors
    assert process.returncode in (1, -signal.SIGINT)
    # Nothing but the interrupt is told of.
    assert "Exception ignored" not in errors and "Exception in thread" not in errors
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert not Path(folder).exists()


FORK = """
import os, sys
import colchis.jobs
with colchis.jobs.connect("local", cores=1) as cluster:
    child = os.fork()
    if child == 0:
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert cluster.local.service.poll() is None
    assert cluster.local.executors["e0"].poll() is None
    print(cluster.submit(abs, -7).result(60), flush=True)
"""


def test_forked_child_that_ends_leaves_its_parents_cluster_alone() -> None:
    with driver(FORK) as process:
        out, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (0, "7\n"), errors


def test_closing_from_what_waits_for_a_result() -> None:
    client = colchis.jobs.connect("local", cores=1)
    assert client.local is not None
    folder = client.local.folder
    pids = {part.pid for part in client.local.executors.values()}
    pids |= {child for pid in pids for child in descendants(pid)}
    client.submit(abs, -1).add_done_callback(lambda _: client.close())
    wait_for(lambda: not folder.exists())
    wait_for(lambda: not any(alive(pid) for pid in pids))
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.submit(abs, -1)


def test_cluster_of_which_a_part_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[LocalCluster] = []
    begin = LocalCluster.start_executor

    def second_fails(self: LocalCluster, config: dict[str, object]) -> None:
        made.append(self)
        if config["executor"] == "e1":
            raise KeyboardInterrupt
        begin(self, config)

    monkeypatch.setattr(LocalCluster, "start_executor", second_fails)
    with pytest.raises(KeyboardInterrupt):
        colchis.jobs.connect("local", executors=2)
    assert made[0].service is not None and made[0].service.poll() is not None
    assert made[0].executors["e0"].poll() is not None
    assert not made[0].folder.exists()
    with pytest.raises(ColchisError, match="closed"):
        made[0].start_service()


def test_leaving_after_a_map_that_was_refused() -> None:
    with (
        pytest.raises(ColchisError, match="at most 67108864"),
        cluster(cores=1) as client,
        client,
    ):
        client.map(len, [bytes(65 * 2**20)])
