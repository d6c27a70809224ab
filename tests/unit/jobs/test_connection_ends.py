"""A client's line to the job service that is closed, broken or taken over at any moment."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from colchis.errors import ColchisError
from colchis.jobs.connection import MAX_FUNCTION, Connection
from colchis.jobs.futures import Collector, JobFuture, first
from colchis.wire import jobs as ask
from colchis.wire.jobs import Query
from colchis.wire.tasks import WhoAreYou
from colchis.wire.unix import UnixServer
from colchis.wire.work import Failure
from tests.support import wait_for

PATIENCE = 60
DIGEST = "0" * 32
SUBMIT = ask.Submit("j", "j", 2, [ask.StageSpec("s0", "call", DIGEST, 1, payloads=[b""])], [0])


class Service:
    """Answers as a test says."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self._routing = b""
        self._messages: list[Any] = []
        self.address = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"

    def hear(self, kind: type) -> Any:
        """The next message of a kind."""
        while True:
            while self._messages:
                message = self._messages.pop(0)
                if isinstance(message, kind):
                    return message
            assert self._socket.poll(PATIENCE * 1000)
            self._routing, *frames = self._socket.recv_multipart()
            self._messages += [ask.FROM_CLIENT.decode(frame) for frame in frames]

    def say(self, message: ask.ToClient) -> None:
        self._socket.send_multipart([self._routing, ask.TO_CLIENT.encode(message)])


@pytest.fixture
def peer() -> Iterator[Service]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        yield Service(socket)


@pytest.fixture
def service(peer: Service) -> str:
    """The address of somebody who listens and never answers."""
    return peer.address


def submit(connection: Connection) -> "JobFuture[Any]":
    future: JobFuture[Any] = JobFuture("j", connection.cancel)
    connection.submit(SUBMIT, {DIGEST: b"f"}, Collector(future, 1, first))
    return future


def eventfds() -> int:
    """How many of what wakes a thread are open."""
    links = []
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(file.readlink()))
    return links.count("anon_inode:[eventfd]")


def test_closing_by_who_is_told_of_a_result(peer: Service) -> None:
    before = eventfds()
    connection = Connection(peer.address, "someone")
    thread = next(t for t in threading.enumerate() if t.name == "colchis-jobs")
    future = submit(connection)
    closed: list[BaseException | None] = []

    def close(_: object) -> None:
        assert threading.current_thread() is thread
        try:
            connection.close()
        except BaseException as error:
            closed.append(error)
        else:
            closed.append(None)

    future.add_done_callback(close)
    peer.hear(ask.Submit)
    peer.say(ask.JobEnded("j", "failed", Failure("no")))
    assert future.exception(PATIENCE) is not None
    thread.join(PATIENCE)
    assert not thread.is_alive() and closed == [None]
    peer.hear(ask.Bye)
    assert eventfds() == before


def test_who_asks_is_told_when_the_connection_ends(service: str) -> None:
    connection = Connection(service, "someone")
    answer = connection.query(Query(1))
    connection.close()
    with pytest.raises(ColchisError, match="closed"):
        answer.result(PATIENCE)


def test_a_service_that_restarts_is_asked_again(peer: Service) -> None:
    connection = Connection(peer.address, "someone")
    peer.hear(ask.Hello)
    peer.say(ask.Greeting(1, 1, 1))
    answer = connection.query(Query(7))
    assert peer.hear(Query).request == 7
    # It dies before it answers; its successor greets as another.
    peer.say(ask.Greeting(2, 1, 1))
    assert peer.hear(Query).request == 7
    peer.say(ask.Status(7, [], []))
    assert answer.result(PATIENCE).request == 7
    connection.close()


def test_too_long_a_function_is_refused_at_once(peer: Service) -> None:
    connection = Connection(peer.address, "someone")
    future: JobFuture[Any] = JobFuture("j", connection.cancel)
    with pytest.raises(ColchisError, match=r"function of \d+ bytes"):
        connection.submit(SUBMIT, {DIGEST: bytes(MAX_FUNCTION + 1)}, Collector(future, 1, first))
    submit(connection)
    peer.hear(ask.Submit)
    connection.close()


def test_cancelling_when_the_connection_is_closed(service: str) -> None:
    connection = Connection(service, "someone")
    connection.close()
    future: JobFuture[Any] = JobFuture("j", connection.cancel)
    assert future.cancel()


def test_nobody_waits_for_a_thread_that_has_broken_down(
    peer: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    asked: list[Future[ask.Status]] = []
    monkeypatch.setattr(threading, "excepthook", lambda what: told.append(what.exc_type))
    connection = Connection(peer.address, "someone")
    thread = next(t for t in threading.enumerate() if t.name == "colchis-jobs")

    class Broken(Collector[Any]):
        def accepted(self) -> None:
            asked.append(connection.query(Query(3)))
            raise AssertionError("a mistake of ours")

    future: JobFuture[Any] = JobFuture("j", connection.cancel)
    connection.submit(SUBMIT, {DIGEST: b"f"}, Broken(future, 1, first))
    answer = connection.query(Query(1))
    peer.hear(Query)
    peer.say(ask.Accepted("j"))
    assert isinstance(future.exception(PATIENCE), ColchisError)
    for waiting in (answer, *asked):
        assert isinstance(waiting.exception(PATIENCE), ColchisError)
    with pytest.raises(ColchisError, match="closed"):
        connection.query(Query(2))
    connection.close()
    thread.join(PATIENCE)
    assert told == [AssertionError]


def test_a_service_on_this_machine_may_die_and_come_back(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/s"
    connection = Connection(address, "someone")
    answer = connection.query(Query(7))

    def until(server: UnixServer, kind: type) -> bytes:
        """The routing id of who sends a message of a kind."""
        found: list[bytes] = []

        def look() -> list[bytes]:
            for routing, *frames in server.arrived(10):
                if any(isinstance(ask.FROM_CLIENT.decode(frame), kind) for frame in frames):
                    found.append(routing)
            return found

        return wait_for(look)[0]

    for epoch in 1, 2:
        server = UnixServer(address)
        routing = until(server, ask.Ping if epoch == 2 else Query)
        server.send([routing, ask.TO_CLIENT.encode(WhoAreYou(epoch))])
        until(server, ask.Hello)
        server.send([routing, ask.TO_CLIENT.encode(ask.Greeting(epoch, 1, 1))])
        assert until(server, Query) == routing
        if epoch == 2:
            server.send([routing, ask.TO_CLIENT.encode(ask.Status(7, [], []))])
            assert answer.result(PATIENCE).request == 7
            connection.close()
            assert until(server, ask.Bye) == routing
        server.close(0)


def test_whoever_closes_waits_for_the_end_also_where_another_has_begun_it(service: str) -> None:
    connection = Connection(service, "me")
    going, ended = threading.Event(), threading.Event()

    class Slow:
        def finished(self, *_: Any) -> None: ...

        def refused(self, *_: Any, **__: Any) -> None:
            going.set()
            assert goes_on.wait(PATIENCE)
            ended.set()

    goes_on = threading.Event()
    connection.submit(SUBMIT, {}, Slow())  # type: ignore[arg-type]  # nothing else is called
    first = threading.Thread(target=connection.close)
    first.start()
    assert going.wait(PATIENCE)
    threading.Timer(0.05, goes_on.set).start()
    connection.close()
    assert ended.is_set()
    first.join()
