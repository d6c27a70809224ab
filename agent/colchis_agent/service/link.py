"""The connection to the master: messages in and out, and whether it is there."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import structlog
import zmq
import zmq.asyncio

from colchis.wire.codec import FROM_AGENT, FROM_MASTER, WireError
from colchis.wire.curve import client_socket, connection_events
from colchis.wire.keys import KeyPair
from colchis.wire.messages import (
    FromAgent,
    FromMaster,
    Hello,
    ReadLog,
    Resume,
    Start,
    Stop,
    Suspend,
)
from colchis_agent.core.events import Connected, Disconnected, Event
from colchis_agent.driver import ContainerRef, DriverError, folder_name

log = structlog.get_logger(__name__)
HELLO_TRIES, HELLO_PAUSE = 50, 0.02
REFUSED_PAUSE = 2.0


def order_in(data: bytes) -> FromMaster:
    """The message in these bytes.

    Raises WireError where there is none, and where a container has a name that no file may have.
    """
    message = FROM_MASTER.decode(data)
    if isinstance(message, Start | Stop | Suspend | Resume | ReadLog):
        incarnation = 0 if isinstance(message, ReadLog) else message.incarnation
        try:
            folder_name(ContainerRef(message.container, incarnation))
        except DriverError as error:
            raise WireError(str(error)) from None
    return message


class Link:
    """Reconnects by itself; ``counts`` has what was dropped and why."""

    def __init__(
        self,
        ctx: zmq.asyncio.Context,
        keys: KeyPair,
        master_key: str,
        address: str,
        tell: Callable[[Event], None],
        receive: Callable[[FromMaster], None],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._socket = client_socket(ctx, keys, master_key)
        self._address = address
        self._tell = tell
        self._receive = receive

    async def run(self) -> None:
        """Receive until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._listen())

    async def _watch(self) -> None:
        async with connection_events(self._socket) as events:
            self._socket.connect(self._address)
            async for event in events:
                self.counts[event] += 1
                if event == "connected":
                    self._tell(Connected())
                elif event == "disconnected":
                    self._tell(Disconnected())
                else:
                    await self._refused()

    async def _refused(self) -> None:
        """Try again later, in case our key is put on the list: ZeroMQ itself gives up."""
        if self.counts["refused"] == 1:
            log.error("the master refuses our key, or is not the one we know")
        await asyncio.sleep(REFUSED_PAUSE)
        with suppress(zmq.ZMQError):
            self._socket.disconnect(self._address)
        self._socket.connect(self._address)

    async def _listen(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            try:
                message = order_in(frames[-1])
            except WireError as error:
                self.counts["malformed"] += 1
                log.warning("a malformed message was dropped", error=str(error))
                continue
            self._receive(message)

    async def send(self, message: FromAgent) -> None:
        """Send, or drop where nobody is there; what matters is sent again by the core."""
        try:
            data = FROM_AGENT.encode(message)
        except WireError as error:
            self.counts["too long"] += 1
            log.error("a message was not sent", error=str(error))
            return
        # A connection is announced a moment before it takes messages.
        tries = HELLO_TRIES if isinstance(message, Hello) else 1
        for _ in range(tries):
            try:
                await self._socket.send(data, zmq.NOBLOCK)
            except zmq.Again:
                await asyncio.sleep(HELLO_PAUSE if tries > 1 else 0)
            else:
                return
        self.counts["dropped"] += 1

    def close(self) -> None:
        """What was sent is given a moment to leave."""
        with suppress(zmq.ZMQError):
            self._socket.close(linger=500)
