"""The master's end of the connections to its agents."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import structlog
import zmq

from colchis.wire.codec import FROM_AGENT, FROM_MASTER, WireError
from colchis.wire.frames import identified, readable, send
from colchis.wire.messages import FromAgent, FromMaster

log = structlog.get_logger(__name__)

MOST = 64
"""Messages taken from the socket at once."""


class Link:
    """A bound ROUTER whose peers are known by their keys; use as a context manager.

    A connection is named by its routing id in hex. ``dropped`` counts what was no message, by why.
    ``news`` is called, maybe more than once, when there are messages to be had by :meth:`received`;
    who does not take all of them calls :meth:`look` afterwards.

    The socket is not one of ``zmq.asyncio``: futures for every message cost many times what the
    messages do, and come between the loop and those who wait for it.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", news: Callable[[], None]) -> None:
        self._socket = socket
        self._news = news
        self._loop = asyncio.get_running_loop()
        self.dropped: Counter[str] = Counter()

    def __enter__(self) -> "Link":
        self._loop.add_reader(self._socket.fileno(), self.look)
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._socket.fileno())

    def received(self) -> Iterator[tuple[str, str, FromAgent]]:
        """What has arrived: the sender's name, its connection, what it says."""
        for identity, frames in identified(self._socket, MOST):
            if identity is None or len(frames) != 2:
                self.dropped["unknown sender" if identity is None else "frames"] += 1
                continue
            try:
                message = FROM_AGENT.decode(frames[1])
            except WireError as error:
                self.dropped["malformed"] += 1
                log.warning("message dropped", node=identity, reason=str(error))
                continue
            yield identity, frames[0].hex(), message

    def send(self, link: str, message: FromMaster) -> bool:
        """Whether the message is on its way; false where the connection is gone or full."""
        try:
            frames = [bytes.fromhex(link), FROM_MASTER.encode(message)]
        except WireError as error:
            log.error("message not sent", link=link, reason=str(error))
            return False
        sent = send(self._socket, frames)
        if not sent:
            log.info("message not sent", link=link, reason="the connection is gone or full")
        self.look()
        return sent

    def look(self) -> None:
        """Tell of messages that are there: the descriptor tells of changes only, and whatever is
        done with the socket may use up its signal."""
        if readable(self._socket):
            self._news()
