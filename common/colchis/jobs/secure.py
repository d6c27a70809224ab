"""Sockets of the job system between machines: both ends prove their keys (CURVE).

A server's address carries its public key, ``tcp://HOST:PORT|KEY``, so that whoever connects knows
whom it will speak to; the server takes the keys of an allow-list and, failing that, nobody's.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from colchis.errors import InputError
from colchis.jobs.sockets import PlainSockets, Sockets, tune
from colchis.wire.keys import AllowList, KeyPair, is_key, load_pair
from colchis.wire.zap import ENDPOINT, ZapHandler

DOMAIN = "jobs"
HEARTBEAT_MS = 2_000
SILENCE_MS = 10_000
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class CurveSockets:
    """``pair`` is our own key; ``allowed`` who may connect to our servers."""

    def __init__(self, pair: KeyPair, allowed: Path | None = None) -> None:
        self.suffix = f"|{pair.public}"
        self._pair = pair
        self._allowed = allowed
        self._gates: dict[int, Gate] = {}

    def server(self, context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        if id(context) not in self._gates and self._allowed is not None:
            self._gates[id(context)] = Gate(context, AllowList(self._allowed))
        socket = context.socket(zmq.ROUTER)
        self._tune(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        # Without a gate nobody is let in.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        return socket

    def connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", address: str
    ) -> "zmq.Socket[bytes]":
        endpoint, _, key = address.partition("|")
        if not is_key(key):
            raise zmq.ZMQError(zmq.EINVAL, f"{endpoint}: an address here ends in |KEY")
        socket = context.socket(zmq.DEALER)
        self._tune(socket)
        socket.setsockopt(zmq.CURVE_SERVERKEY, key.encode())
        try:
            socket.connect(endpoint)
        except zmq.ZMQError:
            socket.close(0)
            raise
        return socket

    def _tune(self, socket: "zmq.Socket[bytes]") -> None:
        tune(socket)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._pair.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._pair.secret.encode())
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)


class Gate:
    """Answers a context's questions about keys, in a thread that ends with the context."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", allowed: AllowList) -> None:
        unused: Any = None  # the judge's own socket is asyncio's; here it only judges
        self._judge = ZapHandler(unused, {DOMAIN: allowed})
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)
        threading.Thread(target=self._run, name="zap", daemon=True).start()

    def _run(self) -> None:
        with suppress(zmq.ContextTerminated):
            while True:
                frames = self._socket.recv_multipart()
                cut = frames.index(b"") + 1 if b"" in frames else 0
                reply = self._judge.answer(frames[cut:])
                if reply is not None:
                    self._socket.send_multipart([*frames[:cut], *reply])
        self._socket.close(0)


def sockets_for(key: str, allowed: str = "", *addresses: str) -> Sockets:
    """CURVE with a key file (and a path of allowed keys), plain ones without.

    Raises InputError for an unreadable key, and for a server without a key on any address but
    loopback and socket files.
    """
    if key:
        return CurveSockets(load_pair(Path(key)), Path(allowed) if allowed else None)
    for address in addresses:
        host = address.removeprefix("tcp://").rpartition(":")[0]
        if address.startswith("tcp://") and host not in LOOPBACK:
            message = f"{address} is no loopback address: a key is needed to serve there"
            raise InputError.of(message, field="key")
    return PlainSockets()
