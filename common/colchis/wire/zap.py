"""Who may connect: the handler of ZeroMQ's authentication protocol (ZAP, RFC 27).

The sockets of ``colchis.wire.curve`` demand an answer from such a handler; where none runs in
their context, or none knows their domain, every connection is refused.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import TracebackType

import structlog
import zmq
import zmq.asyncio
from zmq.utils import z85

from colchis.wire.keys import AllowList

ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_FRAMES = 7

log = structlog.get_logger(__name__)


class ZapHandler:
    """Admits the keys that are on the list of a socket's domain, each under its identity.

    Use it as an async context manager before the first socket of ``ctx`` binds; there can be one
    for each context. ``admitted`` and ``refused`` count connections by domain.
    """

    def __init__(self, ctx: zmq.asyncio.Context, domains: Mapping[str, AllowList]) -> None:
        self.admitted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._domains = dict(domains)
        self._ctx = ctx
        self._socket: zmq.asyncio.Socket | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ZapHandler":
        socket = self._ctx.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ENDPOINT)
        self._socket = socket
        self._task = asyncio.create_task(self._serve(socket), name="zap")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._socket is not None:
            self._socket.close(linger=0)

    async def _serve(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            frames = await socket.recv_multipart()
            # What comes before the empty frame is the way back to the socket that asks.
            cut = frames.index(b"") + 1 if b"" in frames else 0
            reply = self.answer(frames[cut:])
            if reply is not None:
                await socket.send_multipart([*frames[:cut], *reply])

    def answer(self, request: list[bytes]) -> list[bytes] | None:
        """The reply to the frames of one request; None where it is no request at all."""
        if len(request) < _FRAMES - 1 or request[0] != _VERSION:
            return None
        sequence, domain, address, _, mechanism = request[1:6]
        credentials = request[6:]
        try:
            identity = self._judge(domain, address, mechanism, credentials)
        except Exception:
            # Whatever fails here fails for one connection: without an answer all would wait.
            log.exception("a key could not be judged")
            identity = None
        if identity is None:
            return [_VERSION, sequence, b"400", b"refused", b"", b""]
        return [_VERSION, sequence, b"200", b"OK", identity.encode(), b""]

    def _judge(
        self, domain_: bytes, address: bytes, mechanism: bytes, credentials: list[bytes]
    ) -> str | None:
        domain = domain_.decode(errors="replace")
        about = log.bind(domain=domain, address=address.decode(errors="replace"))
        allowed = self._domains.get(domain)
        key = ""
        if allowed is None:
            reason = "no list of keys for this domain"
        elif mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            reason = "not a CURVE key"
        else:
            key = z85.encode(credentials[0]).decode()
            identity = allowed.identity(key)
            if identity is not None:
                self.admitted[domain] += 1
                about.info("connection admitted", identity=identity)
                return identity
            reason = allowed.problem or "the key is not on the list"
        self.refused[domain] += 1
        about.warning("connection refused", key=key, reason=reason)
        return None
