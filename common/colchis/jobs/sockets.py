"""ZeroMQ sockets of the job system: between whom they are, they prove their keys.

Inside one machine sockets are files in a folder that only its owner may enter, and need no keys.
Between machines both ends use CURVE; a server takes the keys of an allow-list and no others.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import zmq

from colchis.wire.work import MAX_RESULT

# As plain numbers: every operation on pyzmq's enums costs more than the system call beside it.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE) | _NOBLOCK

QUEUE = 100_000
"""Messages that wait for one slow peer before further ones are refused."""


class Sockets(Protocol):
    """Makes the two kinds of sockets there are."""

    suffix: str
    """What is appended to an address of a server of ours, so that others can connect to it."""

    def server(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        """A ROUTER, to be bound."""

    def connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", address: str
    ) -> "zmq.Socket[bytes]":
        """A DEALER that connects to a server. Raises ZMQError where the address is none."""


class PlainSockets:
    """Without keys: for sockets that are files in a private folder, and for loopback."""

    suffix = ""

    def server(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        socket = context.socket(zmq.ROUTER)
        tune(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        return socket

    def connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", address: str
    ) -> "zmq.Socket[bytes]":
        socket = context.socket(zmq.DEALER)
        tune(socket)
        try:
            socket.connect(address)
        except zmq.ZMQError:
            socket.close(0)
            raise
        return socket


def tune(socket: "zmq.Socket[bytes]") -> None:
    """What all sockets of jobs have in common."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_RESULT + 2**20)


def arrived(socket: "zmq.Socket[bytes]", most: int) -> Iterator[list[bytes]]:
    """The messages that have arrived, up to so many, each as its frames."""
    for _ in range(most):
        if not int(socket.getsockopt(_EVENTS)) & _POLLIN:
            return
        # Frames know whether another follows for half of what asking the socket costs.
        frame = socket.recv(copy=False)
        frames = [frame.bytes]
        while frame.more:
            frame = socket.recv(copy=False)
            frames.append(frame.bytes)
        yield frames


def identified(socket: "zmq.Socket[bytes]", most: int) -> Iterator[tuple[str | None, list[bytes]]]:
    """The same, with whose key the connection has; None where it proved none."""
    if not socket.getsockopt(zmq.CURVE_SERVER):
        for plain in arrived(socket, most):
            yield None, plain
        return
    for _ in range(most):
        if not int(socket.getsockopt(_EVENTS)) & _POLLIN:
            return
        first = socket.recv(copy=False)
        frames = [first.bytes]
        frame = first
        while frame.more:
            frame = socket.recv(copy=False)
            frames.append(frame.bytes)
        try:
            identity = first.get("User-Id")
        except zmq.ZMQError:
            identity = None
        yield (identity if isinstance(identity, str) and identity else None), frames


def send(socket: "zmq.Socket[bytes]", frames: Sequence[bytes]) -> bool:
    """Send frames as one message, without waiting; False where the peer cannot take it now.

    Several messages for one peer travel as frames of one: every message of its own costs two
    threads a wakeup at each end.
    """
    try:
        for frame in frames[:-1]:
            socket.send(frame, _MORE)
        socket.send(frames[-1], _NOBLOCK)
    except zmq.ZMQError:
        return False
    return True
