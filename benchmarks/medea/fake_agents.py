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
from collections.abc import Mapping, Sequence
from pathlib import Path

import zmq
import zmq.asyncio

from colchis.wire.codec import FROM_AGENT, FROM_MASTER
from colchis.wire.curve import client_socket
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

GROUPS = {"rack": 20, "upgrade_domain": 10}
"""Node groups; racks hold so many nodes, domains are so many."""


class FakeAgent:
    """One node. ``started`` is told each container that was ordered, and when."""

    def __init__(
        self, number: int, name: str, socket: zmq.asyncio.Socket, started: list[tuple[str, float]]
    ) -> None:
        self.name = name
        self._number = number
        self._socket = socket
        self._started = started
        self._seq = self._beats = self._epoch = 0
        self._interval = 1.0
        self._running: dict[str, int] = {}

    async def run(self, capacity: Mapping[str, int]) -> None:
        """Until cancelled."""
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
        await self._say(hello)
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._beat())
            while True:
                message = FROM_MASTER.decode(await self._socket.recv())
                match message:
                    case Welcome():
                        self._epoch, self._interval = message.epoch, message.heartbeat_interval
                    case Start():
                        self._started.append((message.container, time.time()))
                        self._tasks.create_task(self._start(message))
                    case Stop():
                        await self._end(message.container, Exit("stopped"))
                        await self._say(Done(message.order, message.container))
                    case _:
                        pass

    async def _beat(self) -> None:
        await asyncio.sleep(random.random())
        while True:
            await asyncio.sleep(self._interval)
            self._beats += 1
            listed = [ContainerReport(c, i, "running") for c, i in self._running.items()]
            await self._say(Heartbeat("s", self._beats, NodeSample(), listed, []))

    async def _start(self, order: Start) -> None:
        if self._running.get(order.container) != order.incarnation:
            self._running[order.container] = order.incarnation
            lasts = order.env.get(LASTS)
            if lasts is not None:
                self._tasks.create_task(self._finish(order.container, float(lasts)))
            await asyncio.sleep(random.uniform(*STARTING))
            if self._running.get(order.container) == order.incarnation:
                await self._report(order.container, order.incarnation)
        await self._say(Done(order.order, order.container))

    async def _finish(self, container: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._end(container, Exit("exited", 0))

    async def _end(self, container: str, how: Exit) -> None:
        incarnation = self._running.pop(container, None)
        if incarnation is not None:
            await self._report(container, incarnation, how)

    async def _report(self, container: str, incarnation: int, how: Exit | None = None) -> None:
        self._seq += 1
        state = ContainerReport(container, incarnation, "ended" if how else "running", exit=how)
        await self._say(Report("s", self._seq, state))

    async def _say(self, message: FromAgent) -> None:
        await self._socket.send(FROM_AGENT.encode(message))


async def run_all(
    master: str, keys: Path, names: Sequence[str], capacity: Mapping[str, int]
) -> list[tuple[str, float]]:
    """Run an agent per name until standard input ends; what was started, and when."""
    started: list[tuple[str, float]] = []
    ctx = zmq.asyncio.Context()
    ctx.set(zmq.MAX_SOCKETS, 2 * len(names) + 100)
    key = load_public(keys / "master.pub")
    tasks = []
    for number, name in enumerate(names):
        socket = client_socket(ctx, load_pair(keys / "agents" / f"{name}.key"), key)
        socket.connect(master)
        tasks.append(asyncio.create_task(FakeAgent(number, name, socket, started).run(capacity)))
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([over, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    ctx.destroy(0)
    for task in done - {over}:
        task.result()
    return started


def main() -> None:
    """Arguments: a JSON file with ``master``, ``keys``, ``names``, ``capacity``; a file to write
    what was started to, once standard input ends."""
    given = json.loads(Path(sys.argv[1]).read_text())
    os.nice(5)  # a real agent would not be on the master's machine
    started = asyncio.run(
        run_all(given["master"], Path(given["keys"]), given["names"], given["capacity"])
    )
    Path(sys.argv[2]).write_text(json.dumps(started))


if __name__ == "__main__":
    main()
