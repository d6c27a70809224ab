"""Sockets of the job system: between whom they are, they prove their keys.

Inside one machine sockets are files in a folder that only its owner may enter, and need no keys.
Between machines both ends use CURVE; a server takes the keys of an allow-list and no others. Orders
and reports go over Unix sockets where the address is ``unix://PATH``; all else is ZeroMQ.
"""

from typing import Protocol

import zmq

from colchis.wire.lines import Line, ZmqLine
from colchis.wire.unix import QUEUE, SCHEME, UnixLine, UnixServer
from colchis.wire.work import MAX_RESULT


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


def listen(sockets: Sockets, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> Line:
    """A server's end. Raises InputError, OSError and ZMQError where the address cannot be had."""
    if address.startswith(SCHEME):
        return UnixServer(address)
    socket = sockets.server(context)
    socket.bind(address)
    return ZmqLine(socket)


def reach(sockets: Sockets, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> Line:
    """The end that connects. Raises InputError and ZMQError where the address is none."""
    if address.startswith(SCHEME):
        return UnixLine(address)
    return ZmqLine(sockets.connect(context, address))


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
