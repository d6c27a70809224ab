"""The master's end of the connections to its agents."""

import asyncio
from collections import Counter

import structlog
import zmq
import zmq.asyncio

from colchis.wire.codec import FROM_AGENT, FROM_MASTER, WireError
from colchis.wire.curve import sender
from colchis.wire.messages import FromAgent, FromMaster

log = structlog.get_logger(__name__)


class Link:
    """A ROUTER whose peers are known by their keys.

    A connection is named by its routing id in hex. ``dropped`` counts what was no message, by why.
    """

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self._socket = socket
        self.dropped: Counter[str] = Counter()

    async def receive(self) -> tuple[str, str, FromAgent] | None:
        """The next message: the sender's name, its connection, what it says. None where what came
        was no message."""
        return self._decode(await self._socket.recv_multipart(copy=False))

    def _decode(self, frames: list[zmq.Frame]) -> tuple[str, str, FromAgent] | None:
        node = sender(frames)
        if node is None or len(frames) != 2:
            self.dropped["unknown sender" if node is None else "frames"] += 1
            return None
        try:
            message = FROM_AGENT.decode(frames[1].bytes)
        except WireError as error:
            self.dropped["malformed"] += 1
            log.warning("message dropped", node=node, reason=str(error))
            return None
        return node, frames[0].bytes.hex(), message

    def send(self, link: str, message: FromMaster) -> bool:
        """Whether the message is on its way; false where the connection is gone or full."""
        try:
            frames = [bytes.fromhex(link), FROM_MASTER.encode(message)]
        except WireError as error:
            log.error("message not sent", link=link, reason=str(error))
            return False
        # Without blocking a send is over when the call returns, for good or ill.
        sent = asyncio.ensure_future(self._socket.send_multipart(frames, flags=zmq.NOBLOCK))
        error_of = sent.exception() if sent.done() else None
        if error_of is not None:
            log.info("message not sent", link=link, reason=str(error_of))
        return error_of is None
