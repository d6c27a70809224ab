"""Many agents in one process, that run nothing: they say what a real agent would say.

They keep the message contract where all goes well: containers run a moment after they are ordered,
batch containers (``SECONDS`` in their environment) end by themselves, stopped ones at once.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from colchis.jobs.urgency import wake_soon
from colchis.wire.codec import FROM_AGENT, FROM_MASTER
from colchis.wire.curve import client_socket
from colchis.wire.frames import readable
from colchis.wire.keys import load_pair, load_public
from colchis.wire.messages import (
    PROTOCOL,
    ContainerReport,
    Done,
    Exit,
    FromAgent,
    Heartbeat,
    Hello,
    NodeSample,
    Report,
    Start,
    Stop,
    Welcome,
)

LASTS = "SECONDS"
STARTING = (0.02, 0.06)
"""Seconds that a container takes to start: with none, this one process would answer a hundred
orders that belong to as many hosts before it sees the next one."""

CONNECTING = 0.02
"""Seconds between looks whether there is a connection."""

GROUPS = {"rack": 20, "upgrade_domain": 10}
"""Node groups; racks hold so many nodes, domains are so many."""


class Work:
    """What all agents have to do, one piece in each turn of the loop.

    So a message's time of arrival is noted at most a piece later: real agents have a host each,
    where none waits for what the others do.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[Callable[[], None]] = deque()

    def put(self, piece: Callable[[], None]) -> None:
        self._pieces.append(piece)
        if len(self._pieces) == 1:
            self._loop.call_soon(self._next)

    def after(self, seconds: float, piece: Callable[[], None]) -> None:
        self._loop.call_later(seconds, self.put, piece)

    def _next(self) -> None:
        self._pieces[0]()
        self._pieces.popleft()
        if self._pieces:
            self._loop.call_soon(self._next)


class FakeAgent:
    """One node. ``started`` is told each container that was ordered, and when."""

    def __init__(
        self,
        number: int,
        name: str,
        socket: "zmq.Socket[bytes]",
        work: Work,
        started: list[tuple[str, float]],
    ) -> None:
        self.name = name
        self.socket = socket
        self._number = number
        self._work = work
        self._started = started
        self._seq = self._beats = 0
        self._interval = 1.0
        self._running: dict[str, int] = {}

    def begin(self, capacity: Mapping[str, int]) -> None:
        """Say hello as soon as there is a connection."""
        groups = {
            "rack": [f"r{self._number // GROUPS['rack']}"],
            "upgrade_domain": [f"u{self._number % GROUPS['upgrade_domain']}"],
        }
        hello = Hello(
            PROTOCOL,
            self.name,
            "s",
            "boot",
            "127.0.0.1",
            "0",
            0,
            dict(capacity),
            {},
            groups,
            [],
            [],
        )
        try:
            self._say(hello)
        except zmq.Again:
            self._work.after(CONNECTING, partial(self.begin, capacity))
        else:
            self._work.after(1 + random.random(), self._beat)

    def look(self) -> None:
        """Take what has arrived. Whatever is done with a socket may use up its signal."""
        while readable(self.socket):
            self._work.put(partial(self.take, self.socket.recv(), time.time()))

    def take(self, data: bytes, at: float) -> None:
        """A message that arrived at this time, in seconds since the epoch."""
        message = FROM_MASTER.decode(data)
        match message:
            case Welcome():
                self._interval = message.heartbeat_interval
            case Start():
                self._started.append((message.container, at))
                self._start(message)
            case Stop():
                self._end(message.container, Exit("stopped"))
                self._say(Done(message.order, message.container))
            case _:
                pass

    def _beat(self) -> None:
        self._beats += 1
        listed = [ContainerReport(c, i, "running") for c, i in self._running.items()]
        self._say(Heartbeat("s", self._beats, NodeSample(), listed, []))
        self._work.after(self._interval, self._beat)

    def _start(self, order: Start) -> None:
        if self._running.get(order.container) == order.incarnation:
            self._say(Done(order.order, order.container))
            return
        self._running[order.container] = order.incarnation
        lasts = order.env.get(LASTS)
        if lasts is not None:
            self._work.after(float(lasts), partial(self._end, order.container, Exit("exited", 0)))
        self._work.after(random.uniform(*STARTING), partial(self._runs, order))

    def _runs(self, order: Start) -> None:
        if self._running.get(order.container) == order.incarnation:
            self._report(order.container, order.incarnation)
        self._say(Done(order.order, order.container))

    def _end(self, container: str, how: Exit) -> None:
        incarnation = self._running.pop(container, None)
        if incarnation is not None:
            self._report(container, incarnation, how)

    def _report(self, container: str, incarnation: int, how: Exit | None = None) -> None:
        self._seq += 1
        state = ContainerReport(container, incarnation, "ended" if how else "running", exit=how)
        self._say(Report("s", self._seq, state))

    def _say(self, message: FromAgent) -> None:
        self.socket.send(FROM_AGENT.encode(message), zmq.NOBLOCK)
        self.look()


async def run_all(
    master: str, keys: Path, names: Sequence[str], capacity: Mapping[str, int]
) -> list[tuple[str, float]]:
    """Run an agent per name until standard input ends; what was started, and when."""
    started: list[tuple[str, float]] = []
    ctx: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    ctx.set(zmq.MAX_SOCKETS, 2 * len(names) + 100)
    key = load_public(keys / "master.pub")
    loop, work = asyncio.get_running_loop(), Work()
    faults: asyncio.Future[None] = loop.create_future()

    def failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not faults.done():
            error = context.get("exception")
            faults.set_exception(error or RuntimeError(context["message"]))

    loop.set_exception_handler(failed)
    for number, name in enumerate(names):
        socket = client_socket(ctx, load_pair(keys / "agents" / f"{name}.key"), key)
        socket.connect(master)
        agent = FakeAgent(number, name, socket, work, started)
        loop.add_reader(socket.fileno(), agent.look)
        agent.begin(capacity)
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([over, faults], return_when=asyncio.FIRST_COMPLETED)
    if faults.done():
        faults.result()
    ctx.destroy(0)
    return started


def main() -> None:
    """Arguments: a JSON file with ``master``, ``keys``, ``names``, ``capacity``; a file to write
    what was started to, once standard input ends."""
    given = json.loads(Path(sys.argv[1]).read_text())
    # Real agents would not be on the master's machine, but would be woken at once on theirs.
    os.nice(5)
    wake_soon()
    started = asyncio.run(
        run_all(given["master"], Path(given["keys"]), given["names"], given["capacity"])
    )
    Path(sys.argv[2]).write_text(json.dumps(started))


if __name__ == "__main__":
    main()
