"""A client's line to the job service: one thread that sends, receives and fetches.

Callers queue messages; the thread owns every socket. When the line is lost it comes back by
itself, and the thread asks for what it missed; a result that comes twice is delivered once.

Handing over takes no lock: a signal's handler may close the connection in the middle of it, and
then waits for the thread, not for what it has interrupted.
"""

import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Protocol

import zmq
from msgspec import Struct

from colchis.errors import ColchisError
from colchis.jobs.sockets import PlainSockets, Sockets, reach
from colchis.jobs.urgency import wake_soon
from colchis.wire import jobs as ask
from colchis.wire.codec import WireError
from colchis.wire.lines import Line
from colchis.wire.tasks import DropFunction, Function, WhoAreYou
from colchis.wire.work import MAX_MESSAGE, STORE, Data, Failure, Get, Input, Stored

PING = 2.0
FETCH_PATIENCE = 5.0
FUNCTIONS_KEPT = 512
MAX_FUNCTION = MAX_MESSAGE - 2**10
"""Bytes of a pickled function, so that it fits into a message."""
PARCEL = 32
"""Messages sent as frames of one."""
HOLD = 0.002
"""Seconds that what nobody waits for is held for company."""


class ConnectionClosedError(ColchisError):
    """Nothing is sent any more."""


class Listener(Protocol):
    """Who waits for a job."""

    def accepted(self) -> None:
        """The job will survive the service's end."""

    def result(self, stage: int, index: int, data: bytes) -> None:
        """One task's pickled result; comes once per task."""

    def broken(self, stage: int, index: int, failure: Failure) -> None:
        """One of independent tasks has failed for good; instead of its result."""

    def ended(self, state: str, failure: Failure | None) -> None:
        """The job has ended; every result came before."""

    def refused(self, reason: str, *, lost: bool) -> None:
        """The job was not taken, or is not known any more (``lost``)."""


class Awaited(Struct):
    """A job that is waited for."""

    listener: Listener
    submit: ask.Submit
    got: set[tuple[int, int]] = set()
    fetching: set[tuple[int, int]] = set()
    end: ask.JobEnded | None = None


class Fetch(Struct):
    """A result on its way from an executor."""

    job: str
    stage: int
    index: int
    deadline: float


class Waker:
    """Wakes the thread that polls its ``file``.

    That is closed with the last reference: closed by hand, its number could be another file's
    when somebody else is just about to write.
    """

    def __init__(self) -> None:
        self.file = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self.file).atexit = False

    def wake(self) -> None:
        """The thread's next or present poll ends."""
        os.eventfd_write(self.file, 1)

    def woken(self) -> None:
        """Taken note of by the thread."""
        os.eventfd_read(self.file)


class Connection:
    """Talks for one client until closed."""

    def __init__(self, address: str, name: str, sockets: Sockets | None = None) -> None:
        self.name = name
        self.greeting: ask.Greeting | None = None
        self.greeted = threading.Condition()
        self._address = address
        self._sockets = sockets or PlainSockets()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._service = self._reach_soon_woken(address)
        self._peers: dict[str, zmq.Socket[bytes]] = {}
        self._waker: Waker | None = Waker()
        """None once nobody is there to be woken."""
        self._poller = zmq.Poller()
        self._poller.register(self._service.source, zmq.POLLIN)
        self._poller.register(self._waker.file, zmq.POLLIN)
        self._outbox: deque[Callable[[], None]] = deque()
        self._unsent: list[bytes] = []
        self._held: list[bytes] = []
        self._held_until = math.inf
        self._functions: dict[str, bytes] = {}
        self._jobs: dict[str, Awaited] = {}
        self._fetches: dict[str, Fetch] = {}
        self._answers: dict[int, tuple[ask.Query, Future[ask.Status]]] = {}
        self._closing = False
        """Set before the thread looks into the outbox for the last time."""
        self._woken = False
        """Whether the thread has been woken since it last looked into the outbox."""
        self._thread = threading.Thread(
            target=self._run, args=(self._waker,), name="colchis-jobs", daemon=True
        )
        self._thread.start()

    def submit(self, job: ask.Submit, functions: dict[str, bytes], listener: Listener) -> None:
        """Send a job and the functions it needs. Raises WireError where one is too long."""
        data = ask.FROM_CLIENT.encode(job)
        for function in functions.values():
            if len(function) > MAX_FUNCTION:
                size = len(function)
                raise WireError(f"a function of {size} bytes; at most {MAX_FUNCTION} are sent")
        self._do(lambda: self._submit(job, data, functions, listener))

    def cancel(self, job: str) -> None:
        """End a job and forget it; the end of the connection has done so already."""
        with suppress(ConnectionClosedError):
            self._do(lambda: self._forget(job))

    def cancel_any(self, job: str) -> None:
        """End a job, whoever submitted it; its owner is told."""
        self._do(lambda: self._send(ask.CancelJob(job)))

    def query(self, query: ask.Query) -> "Future[ask.Status]":
        """Ask how things stand; asked again where the service restarts meanwhile."""
        answer: Future[ask.Status] = Future()

        def send() -> None:
            self._answers[query.request] = (query, answer)
            self._send(query)

        self._do(send)
        return answer

    def give_up(self, query: ask.Query) -> None:
        """Wait no more for the answer to a query."""

        def forget() -> None:
            self._answers.pop(query.request, None)

        with suppress(ConnectionClosedError):
            self._do(forget)

    def hello(self) -> None:
        """Ask for a fresh greeting."""
        self._do(self._hello)

    def close(self) -> None:
        """Cancel what still runs and end the line.

        Called by a listener, so in the connection's own thread, it returns before that has ended.
        """
        if not self._closing:
            self._closing = True
            self._wake_up()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _do(self, what: Callable[[], None]) -> None:
        """Have the thread do something. Raises ConnectionClosedError."""
        self._outbox.append(what)
        if self._closing:
            try:
                self._outbox.remove(what)
            except ValueError:
                # The thread has taken it, and ends it with all the rest.
                return
            raise ConnectionClosedError("the connection is closed")
        if not self._woken:
            self._woken = True
            self._wake_up()

    def _wake_up(self) -> None:
        waker = self._waker
        if waker is not None:
            waker.wake()

    def _reach_soon_woken(self, address: str) -> Line:
        """Connect from a thread that is woken soon: ZeroMQ's own threads inherit that."""
        made: list[Line | BaseException] = []

        def connect() -> None:
            wake_soon()
            try:
                made.append(reach(self._sockets, self._context, address))
            except BaseException as error:
                made.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        return made[0]

    def _run(self, waker: Waker) -> None:
        wake_soon()
        try:
            self._serve(waker)
        finally:
            # Also where something is wrong: nobody shall wait for what never comes.
            self._closing = True
            self._waker = None
            self._end()

    def _serve(self, waker: Waker) -> None:
        self._hello()
        self._flush()
        ping = time.monotonic() + PING
        while not self._closing:
            now = time.monotonic()
            if now >= ping:
                ping = now + PING
                self._send(ask.Ping(self.name))
                self._give_up_fetches(now)
            due = min(ping, self._held_until, self._service.due)
            for source, _ in self._poller.poll(max(0, int((due - now) * 1000) + 1)):
                if source == waker.file:
                    waker.woken()
                elif source == self._service.source:
                    self._receive()
                else:
                    self._fetched(source)
            self._service.again()
            self._empty_outbox()
        self._empty_outbox()
        self._send(ask.Bye())
        self._flush()

    def _end(self) -> None:
        for peer in self._peers.values():
            peer.close(0)
        self._service.close(0.5)
        self._context.term()
        for what in self._handed_over():
            what()
        for awaited in list(self._jobs.values()):
            awaited.listener.refused("the connection was closed", lost=True)
        for _, answer in self._answers.values():
            with suppress(InvalidStateError):
                answer.set_exception(ConnectionClosedError("the connection was closed"))

    def _empty_outbox(self) -> None:
        self._woken = False
        for what in self._handed_over():
            what()
            if len(self._unsent) >= PARCEL:
                self._flush()
        self._flush()

    def _handed_over(self) -> Iterator[Callable[[], None]]:
        # Who comes too late takes it back: what was there a moment ago may be gone.
        with suppress(IndexError):
            while True:
                yield self._outbox.popleft()

    def _send(self, message: ask.FromClient) -> None:
        self._unsent.append(ask.FROM_CLIENT.encode(message))

    def _flush(self) -> None:
        if self._held and (self._unsent or time.monotonic() >= self._held_until):
            self._unsent += self._held
            self._held.clear()
            self._held_until = math.inf
        while self._unsent:
            # Where nobody has listened for long this fails; who comes back is greeted anew.
            self._service.send(self._unsent[:PARCEL])
            del self._unsent[:PARCEL]

    def _hello(self) -> None:
        self._send(ask.Hello(self.name, jobs=list(self._jobs)))

    def _submit(
        self, job: ask.Submit, encoded: bytes, functions: dict[str, bytes], listener: Listener
    ) -> None:
        self._jobs[job.job] = Awaited(listener, job)
        for digest, data in functions.items():
            if digest not in self._functions:
                self._send(Function(digest, data))
            else:
                del self._functions[digest]
            self._functions[digest] = data
        if len(self._functions) > FUNCTIONS_KEPT:
            used = {s.function for one in self._jobs.values() for s in one.submit.stages}
            for digest in list(self._functions)[: -FUNCTIONS_KEPT // 2]:
                if digest not in used:
                    del self._functions[digest]
                    self._send(DropFunction(digest))
        self._unsent.append(encoded)

    def _forget(self, job: str) -> None:
        if self._jobs.pop(job, None) is not None:
            self._send(ask.Release(job))

    def _receive(self) -> None:
        for frames in self._service.arrived(64):
            for frame in frames:
                try:
                    message = ask.TO_CLIENT.decode(frame)
                except WireError:
                    continue
                self._take(message)

    def _take(self, message: ask.ToClient) -> None:
        if isinstance(message, ask.TaskDone):
            self._task_done(message)
        elif isinstance(message, ask.TaskBroken):
            awaited = self._jobs.get(message.job)
            place = (message.stage, message.index)
            if awaited is not None and place not in awaited.got:
                awaited.got.add(place)
                awaited.listener.broken(*place, message.failure)
        elif isinstance(message, ask.JobEnded):
            self._job_ended(message)
        elif isinstance(message, ask.Accepted):
            if message.job in self._jobs:
                self._jobs[message.job].listener.accepted()
        elif isinstance(message, ask.Rejected):
            self._refuse(message.job, message.reason, lost=False)
        elif isinstance(message, ask.Greeting):
            self._greet(message)
        elif isinstance(message, ask.Status):
            asked = self._answers.pop(message.request, None)
            if asked is not None:
                with suppress(InvalidStateError):
                    asked[1].set_result(message)
        elif isinstance(message, WhoAreYou):
            self._hello()

    def _greet(self, message: ask.Greeting) -> None:
        new = self.greeting is None or self.greeting.epoch != message.epoch
        if new:
            for digest, data in self._functions.items():
                self._send(Function(digest, data))
            for query, _ in self._answers.values():
                self._send(query)
        for job in message.unknown:
            awaited = self._jobs.get(job)
            if awaited is not None:
                # Never accepted, or the service keeps no journal: it is begun anew.
                self._send(awaited.submit)
        with self.greeted:
            self.greeting = message
            self.greeted.notify_all()

    def _refuse(self, job: str, reason: str, *, lost: bool) -> None:
        awaited = self._jobs.pop(job, None)
        if awaited is not None:
            awaited.listener.refused(reason, lost=lost)

    def _task_done(self, message: ask.TaskDone) -> None:
        awaited = self._jobs.get(message.job)
        place = (message.stage, message.index)
        if awaited is None or place in awaited.got or not message.results:
            return
        result: Input = message.results[0]
        if isinstance(result, bytes):
            awaited.got.add(place)
            awaited.fetching.discard(place)
            awaited.listener.result(*place, result)
            self._finish(awaited)
        elif result.key not in self._fetches:
            awaited.fetching.add(place)
            self._fetch(result, Fetch(message.job, *place, time.monotonic() + FETCH_PATIENCE))

    def _job_ended(self, message: ask.JobEnded) -> None:
        awaited = self._jobs.get(message.job)
        if awaited is not None:
            awaited.end = message
            self._finish(awaited)

    def _finish(self, awaited: Awaited) -> None:
        """Tell the listener of the end once every result is there."""
        end = awaited.end
        if end is None or (end.state == "finished" and awaited.fetching):
            return
        # A caller that goes on with another job at once spares the service a message.
        if self._jobs.pop(end.job, None) is not None:
            if not self._held:
                self._held_until = time.monotonic() + HOLD
            self._held.append(ask.FROM_CLIENT.encode(ask.Release(end.job)))
        awaited.listener.ended(end.state, end.failure)

    def _fetch(self, result: Stored, fetch: Fetch) -> None:
        self._fetches[result.key] = fetch
        peer = self._peers.get(result.address)
        if peer is None:
            try:
                peer = self._sockets.connect(self._context, result.address)
            except zmq.ZMQError:
                self._lost(result.key)
                return
            self._peers[result.address] = peer
            self._poller.register(peer, zmq.POLLIN)
        peer.send(STORE.encode(Get(result.key)))

    def _fetched(self, peer: "zmq.Socket[bytes]") -> None:
        try:
            message = STORE.decode(peer.recv())
        except WireError:
            return
        if not isinstance(message, Data) or message.key not in self._fetches:
            return
        if message.data is None:
            self._lost(message.key)
            return
        fetch = self._fetches.pop(message.key)
        awaited = self._jobs.get(fetch.job)
        place = (fetch.stage, fetch.index)
        if awaited is not None and place not in awaited.got:
            awaited.got.add(place)
            awaited.fetching.discard(place)
            awaited.listener.result(*place, message.data)
            self._finish(awaited)

    def _lost(self, key: str) -> None:
        fetch = self._fetches.pop(key)
        awaited = self._jobs.get(fetch.job)
        if awaited is not None:
            awaited.end = None
            self._send(ask.ResultLost(fetch.job, fetch.stage, fetch.index, key))

    def _give_up_fetches(self, now: float) -> None:
        for key, fetch in list(self._fetches.items()):
            if fetch.deadline <= now:
                self._lost(key)
