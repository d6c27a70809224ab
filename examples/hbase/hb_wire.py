"""Requests and replies over TCP.

A frame is two big-endian 32-bit lengths, a JSON object of the first length, and bytes of the
second (empty where a message carries no bulk data). A request names its operation in ``op``; a
reply has ``ok``, and where that is false, ``error`` (a code) and ``message``.
"""

import json
import signal
import socket
import socketserver
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from hb_discovery import Backoff, Lookup, LookupFailedError

LENGTHS = struct.Struct(">II")
MAX_PART = 64 * 1024 * 1024
ATTEMPT_SECONDS = 10.0

Message = dict[str, Any]
Handler = Callable[[Message, bytes], tuple[Message, bytes]]


class RefusedError(Exception):
    """A peer understood a request and said no; ``code`` says why in one word."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class UnreachableError(Exception):
    """A peer did not answer before the deadline."""


def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise ConnectionError("peer closed the connection")
        parts += part
    return bytes(parts)


def send_frame(sock: socket.socket, message: Message, payload: bytes = b"") -> None:
    body = json.dumps(message, separators=(",", ":")).encode()
    sock.sendall(LENGTHS.pack(len(body), len(payload)) + body + payload)


def receive_frame(sock: socket.socket) -> tuple[Message, bytes]:
    """One frame. Raises ConnectionError at the end of the stream, ValueError on a bad frame."""
    body_size, payload_size = LENGTHS.unpack(_receive_exactly(sock, LENGTHS.size))
    if body_size > MAX_PART or payload_size > MAX_PART:
        raise ValueError("frame too large")
    message = json.loads(_receive_exactly(sock, body_size))
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message, _receive_exactly(sock, payload_size)


class Connection:
    """One connection to a server; not to be shared between threads."""

    def __init__(self, host: str, port: int, timeout: float = ATTEMPT_SECONDS) -> None:
        self._sock = socket.create_connection((host, port), timeout=timeout)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, op: str, payload: bytes = b"", **fields: Any) -> tuple[Message, bytes]:
        """Ask and wait. Raises RefusedError, OSError (also when too slow) and ValueError."""
        send_frame(self._sock, {"op": op, **fields}, payload)
        reply, bulk = receive_frame(self._sock)
        if not reply.get("ok"):
            raise RefusedError(str(reply.get("error")), str(reply.get("message", "")))
        return reply, bulk

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Peer:
    """Another container, wherever it runs at the moment.

    A call that fails looks the container up again and repeats with back-off until its deadline, so
    an operation may be carried out twice: peers are asked only for what bears that.
    """

    def __init__(self, lookup: Lookup, group: str, index: int = 0) -> None:
        self.name = f"{lookup.app}/{group}/{index}"
        self._lookup = lookup
        self._group = group
        self._index = index
        self._connection: Connection | None = None

    def call(
        self, op: str, payload: bytes = b"", *, within: float = 60.0, **fields: Any
    ) -> tuple[Message, bytes]:
        """Ask, for at most about ``within`` seconds. Raises RefusedError and UnreachableError."""
        deadline = time.monotonic() + within
        backoff = Backoff()
        while True:
            try:
                return self._connect(min(within, ATTEMPT_SECONDS)).call(op, payload, **fields)
            except (OSError, ValueError, LookupFailedError) as error:
                self.close()
                if time.monotonic() >= deadline:
                    raise UnreachableError(f"{self.name}: {error}") from error
            backoff.wait()

    def _connect(self, timeout: float) -> Connection:
        if self._connection is None:
            endpoint = self._lookup.find(self._group, self._index)
            if endpoint is None:
                raise LookupFailedError("not there yet")
            self._connection = Connection(endpoint.host, endpoint.port, timeout)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Server(socketserver.ThreadingTCPServer):
    """Answers each connection in a thread of its own with what ``handler`` returns."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: Handler) -> None:
        self.handler = handler
        super().__init__((host, port), _Session)


class _Session(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Finds peers whose host vanished; a peer that is only frozen still answers probes.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            while True:
                request, payload = receive_frame(sock)
                send_frame(sock, *self._answer(request, payload))
        except (OSError, ValueError):
            return

    def _answer(self, request: Message, payload: bytes) -> tuple[Message, bytes]:
        try:
            reply, bulk = self.server.handler(request, payload)
        except RefusedError as refusal:
            return {"ok": False, "error": refusal.code, "message": refusal.message}, b""
        except (KeyError, TypeError, ValueError, IndexError) as error:
            message = f"{type(error).__name__}: {error}"
            return {"ok": False, "error": "bad-request", "message": message}, b""
        return {"ok": True, **reply}, bulk


def end_on_sigterm() -> None:
    """Let a polite stop end the process with code 0."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
