"""Sockets that speak only to those they know.

Both ends prove their keys (CURVE, ZeroMQ RFC 26). Who sent a message is told by the key of its
connection, see ``colchis.wire.frames.sender``; a routing id is only a way back, anybody may choose
one.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from colchis.wire.keys import KeyPair
from colchis.wire.messages import MAX_MESSAGE

HEARTBEAT_MS = 2_000
SILENCE_MS = 10_000
HANDSHAKE_MS = 10_000
QUEUE = 10_000
"""Messages that wait for one slow peer before further ones to it are dropped."""

SomeSocket = TypeVar("SomeSocket", bound="zmq.Socket[Any]")

REFUSED_EVENTS = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


def server_socket(ctx: "zmq.Context[SomeSocket]", keys: KeyPair, domain: str) -> SomeSocket:
    """A ROUTER that admits whom the ``ZapHandler`` of the context admits to ``domain``.

    Without such a handler it admits nobody. Sending to a peer that is gone raises ZMQError
    (EHOSTUNREACH). A second peer with the routing id of the first is not listened to.
    """
    socket = ctx.socket(zmq.ROUTER)
    _common(socket, keys)
    socket.curve_server = True
    socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    return socket


def client_socket(ctx: "zmq.Context[SomeSocket]", keys: KeyPair, server: str) -> SomeSocket:
    """A DEALER that speaks only to the holder of the public key ``server``.

    It reconnects by itself and keeps nothing for a peer that is not there: sending without a
    connection blocks, or raises zmq.Again with ``zmq.NOBLOCK``.
    """
    socket = ctx.socket(zmq.DEALER)
    _common(socket, keys)
    socket.curve_serverkey = server.encode()
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    return socket


@asynccontextmanager
async def connection_events(
    socket: zmq.asyncio.Socket,
) -> AsyncIterator["ConnectionEvents"]:
    """What happens to the connections of a socket, to be iterated over while it is open."""
    events = ConnectionEvents(socket)
    try:
        yield events
    finally:
        events.close()


class ConnectionEvents:
    """Iterates over ``connected``, ``disconnected`` and ``refused``; counts them too.

    ``connected`` means that both sides have proved their keys.
    """

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self.counts: Counter[str] = Counter()
        self._socket = socket
        wanted = REFUSED_EVENTS | zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED
        self._monitor = socket.get_monitor_socket(wanted)

    def __aiter__(self) -> "ConnectionEvents":
        return self

    async def __anext__(self) -> str:
        parsed = parse_monitor_message(await self._monitor.recv_multipart())
        event = zmq.Event(parsed["event"])
        if event & REFUSED_EVENTS:
            name = "refused"
        elif event == zmq.Event.HANDSHAKE_SUCCEEDED:
            name = "connected"
        elif event == zmq.Event.DISCONNECTED:
            name = "disconnected"
        else:
            raise StopAsyncIteration
        self.counts[name] += 1
        return name

    def close(self) -> None:
        """Stop watching; waiting iterations end with a ZMQError or are cancelled."""
        with suppress(zmq.ZMQError):
            self._socket.disable_monitor()


def _common(socket: "zmq.Socket[Any]", keys: KeyPair) -> None:
    socket.curve_publickey = keys.public.encode()
    socket.curve_secretkey = keys.secret.encode()
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.SNDHWM, QUEUE)
    socket.setsockopt(zmq.RCVHWM, QUEUE)
    socket.setsockopt(zmq.LINGER, 0)
