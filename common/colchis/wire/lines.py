"""A way on which messages come and go, whatever it is made of.

Messages are lists of frames. At a server's end the first frame of each is the peer's routing id, as
at a ZeroMQ ROUTER. Nothing here waits: whoever has a line polls its ``source``.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import zmq

from colchis.wire import frames


class Fault(NamedTuple):
    """What has gone wrong at a server's end: with whom (empty: nobody known) and why."""

    routing: bytes
    error: Exception


class Line(Protocol):
    """One end, see :class:`ZmqLine` and ``colchis.wire.unix``."""

    due: float
    """When to call :meth:`again`, by ``time.monotonic()``; infinite where there is no need."""

    faults: list[Fault]
    """What has gone wrong lately, to be taken out by who keeps a log of it."""

    @property
    def source(self) -> "int | zmq.Socket[bytes]":
        """What to poll for input, and what ``zmq.Poller`` then names."""

    def arrived(self, most: int) -> Iterator[list[bytes]]:
        """What has arrived, in about so many messages; to be taken to its end."""

    def identified(self, most: int) -> Iterator[tuple[str | None, list[bytes]]]:
        """The same, with whose key the connection has; None where it proved none."""

    def send(self, message: Sequence[bytes]) -> bool:
        """Send, or keep for when it can be sent; False where that is not possible."""

    def again(self) -> None:
        """Connect again, or let peers connect, if it is time."""

    def close(self, patience: float) -> None:
        """End it, once what waits has been sent or so many seconds have passed."""


class ZmqLine:
    """By a ZeroMQ socket, whose own threads connect and send."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self.due = math.inf
        self.faults: list[Fault] = []
        self._socket = socket

    @property
    def source(self) -> "zmq.Socket[bytes]":
        return self._socket

    def arrived(self, most: int) -> Iterator[list[bytes]]:
        return frames.arrived(self._socket, most)

    def identified(self, most: int) -> Iterator[tuple[str | None, list[bytes]]]:
        return frames.identified(self._socket, most)

    def send(self, message: Sequence[bytes]) -> bool:
        return frames.send(self._socket, message)

    def again(self) -> None:
        pass

    def close(self, patience: float) -> None:
        self._socket.close(int(patience * 1000))
