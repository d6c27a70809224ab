"""ZeroMQ sockets of the job system: between whom they are, they prove their keys.

Inside one machine sockets are files in a folder that only its owner may enter, and need no keys.
Between machines both ends use CURVE; a server takes the keys of an allow-list and no others.
"""

from typing import Protocol

import zmq

QUEUE = 100_000
"""Messages that wait for one slow peer before further ones are refused."""


class Sockets(Protocol):
    """Makes the two kinds of sockets there are."""

    def server(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        """A ROUTER, to be bound."""

    def client(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        """A DEALER, to be connected."""


class PlainSockets:
    """Without keys: for sockets that are files in a private folder, and for loopback tests."""

    def server(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        socket = context.socket(zmq.ROUTER)
        tune(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        return socket

    def client(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        socket = context.socket(zmq.DEALER)
        tune(socket)
        return socket


def tune(socket: "zmq.Socket[bytes]") -> None:
    """What all sockets of jobs have in common."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
