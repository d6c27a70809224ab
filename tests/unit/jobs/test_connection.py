"""A client's line to the job service ends cleanly, however its thread and its closer interleave."""

import os
import threading
from collections.abc import Iterator

import pytest
import zmq

from colchis.errors import ColchisError
from colchis.jobs.connection import Connection
from colchis.wire.jobs import Query


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
        connection.query(Query(1), lambda _: None)
