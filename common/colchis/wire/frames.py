"""Taking messages from ZeroMQ sockets, and sending them, without waiting and without asyncio."""

from collections.abc import Iterator, Sequence

import zmq

# As plain numbers: every operation on pyzmq's enums costs more than the system call beside it.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE) | _NOBLOCK


def readable(socket: "zmq.Socket[bytes]") -> bool:
    """Whether a message has arrived. To ask uses up the signal of the socket's descriptor."""
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)


def arrived(socket: "zmq.Socket[bytes]", most: int) -> Iterator[list[bytes]]:
    """The messages that have arrived, up to so many, each as its frames."""
    for frames in _messages(socket, most):
        yield [frame.bytes for frame in frames]


def identified(socket: "zmq.Socket[bytes]", most: int) -> Iterator[tuple[str | None, list[bytes]]]:
    """The same, with whose key the connection has; None where it proved none."""
    server = socket.getsockopt(zmq.CURVE_SERVER)
    for frames in _messages(socket, most):
        yield sender(frames) if server else None, [frame.bytes for frame in frames]


def sender(frames: Sequence[zmq.Frame]) -> str | None:
    """The identity whose key the connection of a message has; None if it proved none.

    ``frames`` were received with ``copy=False``.
    """
    try:
        identity = frames[-1].get("User-Id")
    except zmq.ZMQError:
        return None
    return identity if isinstance(identity, str) and identity else None


def _messages(socket: "zmq.Socket[bytes]", most: int) -> Iterator[list[zmq.Frame]]:
    for _ in range(most):
        if not readable(socket):
            return
        # Frames know whether another follows for half of what asking the socket costs.
        frames = [socket.recv(copy=False)]
        while frames[-1].more:
            frames.append(socket.recv(copy=False))
        yield frames


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
