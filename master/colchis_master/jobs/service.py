"""The job service's shell: sockets, the journal and the clock around the core.

A plain poll loop: everything that has arrived is taken in, the core decides, the journal is
written, and only then is anything sent.
"""

import math
import time
from collections.abc import Callable
from typing import Any, get_args

import zmq

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis.wire.codec import Codec, WireError
from colchis.wire.lines import Line
from colchis.wire.work import MAX_MESSAGE, PROTOCOL
from colchis_master.jobs.books import Forget, Keep, Output, ToClient, ToExecutor
from colchis_master.jobs.complaints import Complaints
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.journal import Journal
from colchis_master.jobs.status import status

MESSAGES: Codec[ask.FromClient | wire.FromExecutor] = Codec(
    ask.FromClient | wire.FromExecutor, limit=MAX_MESSAGE
)
FROM_EXECUTOR = get_args(wire.FromExecutor)
EXECUTOR_KEYS = "executor/"
Taker = Callable[[bytes, Any, float], None]
MAY_WAIT = (ask.Accepted, ask.TaskDone)
"""What tells a client of a job that goes on."""
TURN = 256
"""Messages taken in from each side before the core's decisions are sent."""
HOLD = 0.002
"""Seconds that :data:`MAY_WAIT` does, for others to travel with."""
TICK = 1.0
"""Seconds between looks for silent peers."""


class Peers:
    """Names and routing ids of one line's peers."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._ids: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}
        self._unsent: dict[bytes, list[bytes]] = {}

    def learn(self, name: str, routing: bytes) -> None:
        """The peer is reached by this routing id from now on."""
        old = self._ids.get(name)
        if old is not None:
            self._names.pop(old, None)
        self._ids[name] = routing
        self._names[routing] = name

    def name(self, routing: bytes) -> str | None:
        """Who this is, if known."""
        return self._names.get(routing)

    def send(self, name: str, data: bytes) -> None:
        """Have something sent to a peer at the next :meth:`flush`."""
        routing = self._ids.get(name)
        if routing is not None:
            self.answer(routing, data)

    def answer(self, routing: bytes, data: bytes) -> None:
        """The same, for whoever has this routing id."""
        self._unsent.setdefault(routing, [routing]).append(data)

    def flush(self) -> None:
        """Send; a peer that is gone is found out by its silence."""
        for frames in self._unsent.values():
            self.line.send(frames)
        self._unsent.clear()


class JobService:
    """Serves clients and executors until told to stop.

    ``clients`` and ``executors`` are servers' ends, or one for both. Without a journal,
    jobs are lost with the service.
    """

    def __init__(
        self,
        core: JobCore,
        *,
        clients: Line,
        executors: Line,
        journal: Journal | None = None,
    ) -> None:
        self._core = core
        self._clients = Peers(clients)
        self._executors = Peers(executors)
        self._lines = {line.source: line for line in (executors, clients)}
        self._journal = journal
        self._stopping = False
        self._results_due: float | None = None
        self._released: list[str] = []
        self.complaints = Complaints()
        self._requests: dict[type, Callable[[str, Any, float], None]] = {
            wire.Function: lambda name, message, _: core.clients.add_function(name, message),
            wire.DropFunction: lambda name, message, _: core.clients.drop_function(
                name, message.digest
            ),
            ask.Submit: core.jobs.submit,
            ask.CancelJob: lambda _, message, __: core.jobs.cancel(message.job),
            ask.Release: lambda _, message, __: self._released.append(message.job),
            ask.ResultLost: lambda _, message, __: core.jobs.result_lost(message),
            ask.Query: self._query,
            ask.Bye: lambda name, _, __: core.clients.left(name),
            ask.Ping: lambda *_: None,
        }
        if journal is not None:
            self._recover(journal)

    def stop(self) -> None:
        """End the loop at its next turn; for signal handlers and other threads."""
        self._stopping = True

    def run(self) -> None:
        """Serve."""
        core = self._core
        poller = zmq.Poller()
        for source in self._lines:
            poller.register(source, zmq.POLLIN)
        tick = time.monotonic() + TICK
        while not self._stopping:
            wakeup = core.next_wakeup()
            due = tick if wakeup is None else min(tick, wakeup)
            first = min(due, self._executors.line.due, self._clients.line.due)
            if self._results_due is not None:
                first = min(first, self._results_due)
            wait = 0.0 if core.behind else max(0.0, first - time.monotonic())
            arrived = poller.poll(math.ceil(wait * 1000))
            now = time.monotonic()
            for source, _ in arrived:
                self._drain(self._lines[source], now)
            for line in self._lines.values():
                line.again()
            # A client that waits need not wait for what is decided about the slot.
            self._send(core.results(), now)
            if now >= due:
                core.tick(now)
                if now >= tick:
                    tick = now + TICK
            self._send(core.take(now), now)
            if self._released:
                # They come along with what somebody waits for, and can wait themselves.
                for job in self._released:
                    core.jobs.release(job)
                self._released.clear()
                self._send(core.take(now), now)
            if core.behind:
                core.go_on()
                self._send(core.take(now), now)
        # Executors are containers: they outlive the service, and wait for its successor.
        self._executors.flush()
        self._clients.flush()

    def _drain(self, line: Line, now: float) -> None:
        take_client: Taker = self._from_client if line is self._clients.line else _refuse
        take_executor: Taker = self._from_executor if line is self._executors.line else _refuse
        for identity, (routing, *frames) in line.identified(TURN):
            for frame in frames:
                kind = "malformed message dropped"
                try:
                    message = MESSAGES.decode(frame)
                    kind = "message refused"
                    check(identity, message)
                    if isinstance(message, FROM_EXECUTOR):
                        take_executor(routing, message, now)
                    else:
                        take_client(routing, message, now)
                except WireError as error:
                    who = identity or self._name(line, routing)
                    self.complaints.note(kind, who, str(error), now)
        for routing, fault in line.faults:
            kind = "connection cut off" if routing else "connection not accepted"
            self.complaints.note(kind, self._name(line, routing), str(fault), now)
        line.faults.clear()

    def _name(self, line: Line, routing: bytes) -> str:
        """Who this is, or its connection's routing id in hex."""
        names = (
            peers.name(routing) for peers in (self._clients, self._executors) if peers.line is line
        )
        return next(filter(None, names), routing.hex())

    def _from_executor(self, routing: bytes, message: wire.FromExecutor, now: float) -> None:
        if isinstance(message, wire.Register):
            self._executors.learn(message.executor, routing)
            self._core.register(message, now)
            return
        name = self._executors.name(routing)
        if name is None or name not in self._core.books.executors:
            who = wire.TO_EXECUTOR.encode(wire.WhoAreYou(self._core.books.epoch))
            self._executors.answer(routing, who)
            return
        self._core.executors.report(name, message, now)

    def _from_client(self, routing: bytes, message: ask.FromClient, now: float) -> None:
        core = self._core
        if isinstance(message, ask.Hello):
            if message.protocol != PROTOCOL:
                reason = f"protocol {message.protocol}; this job service speaks {PROTOCOL}"
                self._clients.answer(routing, ask.TO_CLIENT.encode(ask.Rejected("-", reason)))
                self._results_due = 0.0
                return
            self._clients.learn(message.client, routing)
            core.clients.hello(message, now)
            return
        name = self._clients.name(routing)
        if name is None or name not in core.books.clients:
            self._clients.answer(routing, ask.TO_CLIENT.encode(wire.WhoAreYou(core.books.epoch)))
            self._results_due = 0.0
            return
        core.books.clients[name].heard = now
        self._requests[type(message)](name, message, now)

    def _query(self, name: str, message: ask.Query, now: float) -> None:
        answer = status(self._core, message, now)
        self._clients.send(name, ask.TO_CLIENT.encode(answer))
        self._results_due = 0.0

    def _send(self, out: list[Output], now: float) -> None:
        if self._journal is not None:
            self._write(self._journal, out)
        for one in out:
            if isinstance(one, ToExecutor):
                self._executors.send(one.executor, wire.TO_EXECUTOR.encode(one.message))
            elif isinstance(one, ToClient):
                self._clients.send(one.client, ask.TO_CLIENT.encode(one.message))
                if not isinstance(one.message, MAY_WAIT):
                    self._results_due = 0.0
                elif self._results_due is None:
                    self._results_due = now + HOLD
        self._executors.flush()
        if self._results_due is not None and self._results_due <= now:
            self._results_due = None
            self._clients.flush()

    def _write(self, journal: Journal, out: list[Output]) -> None:
        kept = [one for one in out if isinstance(one, Keep)]
        dropped = [one.job for one in out if isinstance(one, Forget)]
        if kept or dropped:
            functions = {digest: data for one in kept for digest, data in one.functions.items()}
            journal.write([(one.client, one.spec, one.born) for one in kept], functions, dropped)

    def _recover(self, journal: Journal) -> None:
        """Take up the jobs of the service's earlier life."""
        now = time.monotonic()
        core = self._core
        for digest, data in journal.functions():
            core.books.functions.add(digest, data, "journal")
        used: set[str] = set()
        for client, spec, born in journal.jobs():
            core.recover(client, spec, born, now)
            used |= {stage.function for stage in spec.stages}
        for digest, _ in list(journal.functions()):
            core.books.functions.drop(digest, "journal")
        journal.drop_functions_but(used)


def check(identity: str | None, message: object) -> None:
    """Keys named ``executor/...`` are those of executors, all others of clients.

    Raises WireError where a message is not for its sender to send. A connection without a key
    came over a socket file or loopback.
    """
    if identity is None:
        return
    if identity.startswith(EXECUTOR_KEYS) != isinstance(message, FROM_EXECUTOR):
        raise WireError(f"{type(message).__name__} from {identity}")


def _refuse(_routing: bytes, message: object, _now: float) -> None:
    raise WireError(f"{type(message).__name__} does not belong here")
