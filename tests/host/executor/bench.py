"""A job service of a few lines, to hold a real executor in the hand."""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import msgspec
import zmq

from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, Input, Kind, Work
from tests.support import DEADLINE, alive, wait_for

EPOCH = 7
M = TypeVar("M")


class Bench:
    """Sends orders to one executor and collects what it reports."""

    def __init__(
        self, folder: Path, *, cores: int, group: Path | None = None, **settings: Any
    ) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind("tcp://127.0.0.1:*")
        config = {
            "executor": "e0",
            "node": "n0",
            "cores": cores,
            "memory": 2**30,
            "service": self._socket.getsockopt_string(zmq.LAST_ENDPOINT),
            "work": str(folder / "work"),
            "tied": True,
            "heartbeat": 0.2,
            **settings,
        }
        file = folder / "executor.json"
        file.write_bytes(msgspec.json.encode(config))
        command = [sys.executable, "-m", "colchis_agent.executor", str(file)]
        if group is not None:
            # As an agent does it: in the container's cgroup before anything else.
            join = f"echo $$ > {group}/cgroup.procs && exec " + " ".join(command)
            command = ["sh", "-c", join]
        self.process = subprocess.Popen(command)
        self._peer = b""
        self._sent: set[str] = set()
        self.epoch = EPOCH
        self._next = 0
        self.reports: list[wire.FromExecutor] = []
        self.register = self.expect(wire.Register)
        self.send(wire.Welcome(EPOCH))

    def send(self, message: wire.ToExecutor) -> None:
        self._socket.send_multipart([self._peer, wire.TO_EXECUTOR.encode(message)])

    def ask_to_suspend(self, attempt: int) -> None:
        """Return once the task will yield at its next record."""
        self.send(wire.Suspend(attempt))
        self.expect(
            wire.Heartbeat,
            lambda beat: any(
                one.attempt == attempt and one.phase == "suspending" for one in beat.attempts
            ),
        )

    def expect(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """The next report of this kind that fits; others before it are kept in ``reports``."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for number, report in enumerate(self.reports):
                if isinstance(report, kind) and where(report):
                    del self.reports[number]
                    return report
            self._receive(100)
        raise AssertionError(f"no such {kind.__name__}; the last reports are {self.reports[-5:]}")

    def _receive(self, milliseconds: int) -> None:
        if self._socket.poll(milliseconds):
            self._peer, *frames = self._socket.recv_multipart()
            self.reports += [wire.FROM_EXECUTOR.decode(frame) for frame in frames]

    def settle(self, seconds: float) -> list[wire.FromExecutor]:
        """Whatever is reported within this time, heartbeats left out."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._receive(20)
        return [report for report in self.reports if not isinstance(report, wire.Heartbeat)]

    def function(self, function: Callable[..., Any]) -> str:
        data = cloudpickle.dumps(function)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if digest not in self._sent:
            self._sent.add(digest)
            self.send(wire.Function(digest, data))
        return digest

    def launch(
        self,
        function: Callable[..., Any],
        *inputs: Any,
        kind: Kind = "records",
        buckets: int = 0,
        task: str = "",
    ) -> int:
        """Start an attempt; each input is a list of records, or a Stored."""
        self._next += 1
        attempt = (self.epoch << EPOCH_SHIFT) + self._next
        data: list[Input] = [
            item if isinstance(item, msgspec.Struct) else cloudpickle.dumps(item)  # type: ignore[misc]  # Stored is the only struct given
            for item in inputs
        ]
        work = Work(kind, self.function(function), data, buckets)
        self.send(wire.Launch(attempt, work, task=task))
        return attempt

    def call(self, function: Callable[..., Any], *args: Any) -> int:
        return self.launch(function, (args, {}), kind="call")

    def result(self, attempt: int) -> Any:
        report = self.expect(wire.Finished, lambda r: r.attempt == attempt)
        assert isinstance(report.results[0], bytes)
        return cloudpickle.loads(report.results[0])

    def failure(self, attempt: int) -> wire.Failed:
        return self.expect(wire.Failed, lambda r: r.attempt == attempt)

    def suspend(self, attempt: int) -> wire.Suspended:
        self.send(wire.Suspend(attempt))
        return self.expect(wire.Suspended, lambda r: r.attempt == attempt)

    def resume(self, attempt: int) -> None:
        self.send(wire.Resume(attempt))
        self.expect(wire.Resumed, lambda r: r.attempt == attempt)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(DEADLINE) == 0
        finally:
            self.process.kill()
            self.disconnect()

    def disconnect(self) -> None:
        self._socket.close(0)
        self._context.term()


@contextmanager
def bench(
    folder: Path, *, cores: int = 2, group: Path | None = None, **settings: Any
) -> Iterator[Bench]:
    """An executor until the end of the block, after which nothing of it runs."""
    made = Bench(folder, cores=cores, group=group, **settings)
    children = descendants(made.process.pid)
    try:
        yield made
        children |= descendants(made.process.pid)
    finally:
        made.close()
    wait_for(lambda: not any(alive(pid) for pid in children))


def descendants(pid: int) -> set[int]:
    """The process's children, theirs, and so on."""
    found: set[int] = set()
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return found
    for child in map(int, children):
        found |= {child} | descendants(child)
    return found
