"""A client's line to the job service: what travels together, and a clean end."""

import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
import zmq

from colchis.errors import ColchisError
from colchis.jobs.connection import Connection
from colchis.jobs.futures import Collector, JobFuture, first
from colchis.wire.jobs import (
    FROM_CLIENT,
    TO_CLIENT,
    JobEnded,
    Query,
    Release,
    StageSpec,
    Submit,
    TaskDone,
)


@pytest.fixture
def service() -> Iterator[str]:
    """The address of somebody who listens and never answers."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        yield f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


def test_thread_may_end_before_its_closer_goes_on(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection(service, "someone")
    thread = next(t for t in threading.enumerate() if t.name == "colchis-jobs")
    write = os.eventfd_write

    def late(file: int, value: int) -> None:
        write(file, value)
        thread.join()
        write(file, value)

    monkeypatch.setattr(os, "eventfd_write", late)
    connection.close()
    connection.close()
    assert not thread.is_alive()


def test_nothing_is_taken_after_the_end(service: str) -> None:
    connection = Connection(service, "someone")
    connection.close()
    with pytest.raises(ColchisError, match="closed"):
        connection.query(Query(1))


class Answers:
    """A job service that finishes every job at once, and what it was sent since, by message."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"

    def message(self) -> list[object]:
        """The next one's frames."""
        assert self.socket.poll(60_000), "nothing came"
        routing, *frames = self.socket.recv_multipart()
        found: list[object] = [FROM_CLIENT.decode(frame) for frame in frames]
        for job in [one.job for one in found if isinstance(one, Submit)]:
            done = TO_CLIENT.encode(TaskDone(job, 0, 0, [pickle.dumps("done")]))
            ended = TO_CLIENT.encode(JobEnded(job, "finished"))
            self.socket.send_multipart([routing, done, ended])
        return found

    def of(self, kind: type) -> list[object]:
        """The frames of the next message that has one of this kind."""
        while True:
            found = self.message()
            if any(isinstance(one, kind) for one in found):
                return found


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.socket.close(0)
    made.context.term()


def submit(connection: Connection, job: str) -> "Future[str]":
    future: JobFuture[str] = JobFuture(job, connection.cancel)
    stage = StageSpec("s0", "call", "0" * 32, 1, [b"arguments"])
    listener = Collector(future, 1, first)
    connection.submit(Submit(job, job, 2, [stage], [0]), {"0" * 32: b"function"}, listener)
    return future


def test_jobs_that_are_over_are_released_though_nothing_follows(answers: Answers) -> None:
    connection = Connection(answers.address, "someone")
    try:
        future = submit(connection, "j")
        answers.of(Submit)
        assert future.result(60) == "done"
        assert Release("j") in answers.of(Release)
    finally:
        connection.close()


def test_what_is_submitted_while_the_thread_is_busy_travels_together(answers: Answers) -> None:
    connection = Connection(answers.address, "someone")
    busy, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        busy.set()
        go_on.wait(60)

    try:
        submit(connection, "first").add_done_callback(hold)
        answers.of(Submit)
        assert busy.wait(60)
        for number in range(5):
            submit(connection, f"j{number}")
        go_on.set()
        found = answers.of(Submit)
        assert [one.job for one in found if isinstance(one, Submit)] == [f"j{n}" for n in range(5)]
        assert found[-1] == Release("first")
    finally:
        go_on.set()
        connection.close()
