"""What the job service cannot take is told of, without flooding the log."""

import json
import math
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from colchis.wire import jobs as ask
from colchis.wire.unix import UnixLine, UnixServer
from colchis_master.jobs.complaints import LONGEST, PAUSE, Complaints
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.service import JobService
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler
from tests.support import DEADLINE, wait_for


@contextmanager
def serving(clients: UnixServer, executors: UnixServer) -> Iterator[JobService]:
    core = JobCore(TaskScheduler("lma", Options(), random.Random(1)), epoch=1)
    service = JobService(core, clients=clients, executors=executors)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield service
    finally:
        service.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[tuple[UnixServer, UnixServer]]:
    """Clients' and executors'."""
    made = UnixServer(f"unix://{tmp_path}/c"), UnixServer(f"unix://{tmp_path}/e")
    yield made
    for one in made:
        one.close(0)


def connected(line: UnixLine) -> bool:
    line.again()
    return line.due == math.inf


def test_each_kind_is_told_once_with_who_and_why(
    lines: tuple[UnixServer, UnixServer], tmp_path: Path
) -> None:
    client = UnixLine(f"unix://{tmp_path}/c")
    executor = UnixLine(f"unix://{tmp_path}/e")
    query = ask.FROM_CLIENT.encode(ask.Query(1))
    with capture_logs() as told, serving(*lines) as service:
        client.send([ask.FROM_CLIENT.encode(ask.Hello("someone"))])
        client.send([b"nonsense %d" % number for number in range(10)])
        client.send([b"\xc1"])
        executor.send([query] * 3)
        wait_for(lambda: service.complaints.counts.total() == 14)
    by_kind: dict[str, Any] = {one["event"]: one for one in told}
    assert len(told) == 2
    malformed, refused = by_kind["malformed message dropped"], by_kind["message refused"]
    assert malformed["peer"] == "someone" and malformed["log_level"] == "warning"
    assert "Expected `object`" in malformed["why"]
    assert refused["peer"] and refused["why"] == "Query does not belong here"
    client.close(0)
    executor.close(0)


def test_who_is_cut_off_is_named(lines: tuple[UnixServer, UnixServer], tmp_path: Path) -> None:
    hello = ask.FROM_CLIENT.encode(ask.Hello("someone"))
    length = struct.Struct("<I")
    with capture_logs() as told, serving(*lines), socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(DEADLINE)
        peer.connect(f"{tmp_path}/c")
        peer.sendall(length.pack(len(hello)) + hello + length.pack(2**32 - 1))
        while peer.recv(1000):
            pass
        [one] = wait_for(lambda: told)
    assert one["event"] == "connection cut off" and one["peer"] == "someone"
    assert "frame of 4294967295 bytes" in one["why"]


def test_they_are_on_standard_error_and_harmless(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/c"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"clients": address}))
    line = UnixLine(address)
    line.send([ask.FROM_CLIENT.encode(ask.Hello("me\x1b[2J")), b"\xc1"])
    command = [sys.executable, "-m", "colchis_master.jobs", str(config)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            wait_for(lambda: connected(line))
            told = process.stderr.readline()
        finally:
            process.terminate()
        assert process.stdout.read() == ""
    assert 'level=warning event="malformed message dropped" peer=me\\x1b[2J' in told
    line.close(0)


def test_kinds_are_told_apart_and_again_after_a_while() -> None:
    complaints = Complaints()
    with capture_logs() as told:
        for number in range(100):
            complaints.note("one", "p", "x" * 1000, float(number % 2))
        complaints.note("another", "p", "y", 2.0)
        complaints.note("one", "q", "z", PAUSE)
    assert [(one["event"], one["peer"], one["number"]) for one in told] == [
        ("one", "p", 1),
        ("another", "p", 1),
        ("one", "q", 100),
    ]
    assert len(told[0]["why"]) == LONGEST
    assert complaints.counts == {"one": 101, "another": 1}
