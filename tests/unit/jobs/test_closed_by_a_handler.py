"""A client that a signal's handler closes, whatever it interrupts."""

import select
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from colchis import jobs
from colchis.errors import ColchisError
from colchis.jobs.client import Client
from colchis.wire.jobs import FROM_CLIENT, TO_CLIENT, Greeting, Hello
from colchis.wire.unix import UnixServer
from tests.support import DEADLINE

OURS = Path(jobs.__file__).parent


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """The address of a job service that greets and does nothing else."""
    address = f"unix://{tmp_path}/s"
    server = UnixServer(address)
    stop = threading.Event()

    def serve() -> None:
        greeting = TO_CLIENT.encode(Greeting(1, 1, 1))
        while not stop.is_set():
            select.select([server.source], [], [], 0.1)
            for routing, *frames in server.arrived(10):
                if any(isinstance(FROM_CLIENT.decode(frame), Hello) for frame in frames):
                    server.send([routing, greeting])

    thread = threading.Thread(target=serve)
    thread.start()
    yield address
    stop.set()
    thread.join()
    server.close(0)


def interrupted(work: Callable[[], Any], handler: Callable[[], None], step: int) -> bool:
    """Work, and run the handler before the instruction of ours with that number, if there is one.

    What the standard library does is not interrupted: it has locks of its own.
    """
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if Path(frame.f_code.co_filename).parent != OURS:
            return None
        frame.f_trace_opcodes = True
        if event in ("line", "opcode"):
            if left == 0:
                handler()
            left -= 1
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return left < 0


def close_at_each_step(address: str, submit: Callable[[Client], "Future[Any]"]) -> int:
    """How many steps there were; fails where somebody would wait for ever."""
    steps = 0
    going = True
    while going:
        client = Client(address, timeout=DEADLINE)
        futures: list[Future[Any]] = []

        def work(client: Client = client, futures: list[Future[Any]] = futures) -> None:
            try:
                futures.append(submit(client))
            except (ColchisError, RuntimeError) as error:
                assert "closed" in str(error) or "after shutdown" in str(error)

        going = interrupted(work, client.close, steps)
        client.close()
        assert not wait(futures, DEADLINE).not_done, steps
        steps += 1
    return steps


def test_closing_in_the_middle_of_a_submission(service: str) -> None:
    done: list[int] = []
    thread = threading.Thread(
        target=lambda: done.append(close_at_each_step(service, lambda one: one.submit(abs, -1))),
        daemon=True,
    )
    thread.start()
    thread.join(DEADLINE)
    assert done and done[0] > 100
