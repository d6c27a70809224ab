"""Results of tasks: kept in memory first, on disk when memory is short, served to who needs them.

A thread beside the supervisor's loop, so that neither a disk nor a slow peer delays an order to
suspend. Slot processes reach it over a socket file, other executors and clients over the network.
"""

import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from colchis.jobs.sockets import PlainSockets, Sockets
from colchis.jobs.urgency import wake_normally
from colchis.wire.codec import WireError
from colchis.wire.work import EPOCH_SHIFT, STORE, Data, Get, Kept, Put, Stored
from colchis_agent.executor.shelf import Shelf
from colchis_agent.executor.slot import InputLostError

FETCHED_KEPT = 64 * 2**20
"""Bytes of other executors' results that are kept for tasks to come."""


@dataclass(slots=True)
class Fetch:
    """A result on its way from a peer, and who waits for it."""

    deadline: float
    waiting: list[tuple["zmq.Socket[bytes]", bytes]]


class Store:
    """Serves until closed. ``memory`` is in bytes, ``patience`` in seconds per fetch."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        sockets: Sockets,
        *,
        folder: Path,
        local: str,
        bind: str,
        host: str,
        memory: int,
        patience: float = 5.0,
    ) -> None:
        self._shelf = Shelf(folder / "spill", memory)
        self._context = context
        self._sockets = sockets
        self._patience = patience
        self._local = PlainSockets().server(context)
        self._local.bind(local)
        self._public = sockets.server(context)
        self._public.bind(bind)
        address = self._public.getsockopt_string(zmq.LAST_ENDPOINT)
        scheme, _, rest = address.partition("://")
        port = rest.rpartition(":")[2]
        if scheme == "tcp" and host:
            address = f"tcp://{host}:{port}"
        self.address = address + sockets.suffix
        self._fetched: OrderedDict[str, bytes] = OrderedDict()
        self._fetched_bytes = 0
        self._fetches: dict[str, Fetch] = {}
        self._peers: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        for source in (self._local, self._public, self._wake):
            self._poller.register(source, zmq.POLLIN)
        self._orders: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def spilled(self) -> int:
        """Bytes written to the disk so far."""
        return self._shelf.spilled

    @property
    def held(self) -> int:
        """Bytes kept at present, in memory and on the disk."""
        return self._shelf.held

    def drop(self, keys: Iterable[str]) -> None:
        """Forget results that nobody needs."""
        self._order("drop", list(keys))

    def keep_only(self, epoch: int, kept: set[int]) -> None:
        """Forget results of attempts of other epochs but those kept."""
        self._order("keep", (epoch, kept))

    def prefetch(self, inputs: Iterable[Stored]) -> None:
        """Fetch results that a task to come will ask for."""
        self._order("prefetch", list(inputs))

    def write(self, file: Path, data: bytes) -> None:
        """Replace a small file, in the store's thread, as disks may be slow."""
        self._order("write", (file, data))

    def close(self) -> None:
        """Stop serving and forget everything."""
        self._order("close", None)
        self._thread.join()
        os.close(self._wake)

    def _order(self, what: str, argument: object) -> None:
        self._orders.put((what, argument))
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        wake_normally()
        while True:
            timeout = 1000 if self._fetches else None
            for source, _ in self._poller.poll(timeout):
                if source == self._wake:
                    if not self._carry_out():
                        return
                else:
                    self._serve(source)
            now = time.monotonic()
            for key, fetch in list(self._fetches.items()):
                if fetch.deadline <= now:
                    self._answer(key, Data(key, None, "no answer from the executor that has it"))

    def _carry_out(self) -> bool:
        os.eventfd_read(self._wake)
        while not self._orders.empty():
            what, argument = self._orders.get()
            if what == "drop":
                for key in argument:
                    self._forget(key)
            elif what == "keep":
                epoch, kept = argument
                for key in self._shelf.names():
                    attempt = key.partition(".")[0]
                    # A name that is no attempt's was given by a task that wrote to our socket.
                    if not attempt.isdecimal() or (
                        int(attempt) >> EPOCH_SHIFT != epoch and int(attempt) not in kept
                    ):
                        self._forget(key)
            elif what == "write":
                file, data = argument
                part = file.with_name(f".{file.name}")
                with suppress(OSError):  # the next one comes soon
                    part.write_bytes(data)
                    part.replace(file)
            elif what == "prefetch":
                for item in argument:
                    if item.address != self.address and self._find(item.key) is None:
                        self._fetch(item.key, item.address)
            else:
                for socket in (self._local, self._public, *self._peers.values()):
                    socket.close(0)
                self._shelf.clear()
                return False
        return True

    def _serve(self, source: "zmq.Socket[bytes]") -> None:
        frames = source.recv_multipart()
        try:
            message = STORE.decode(frames[-1])
        except WireError:
            return
        if source is not self._local and source is not self._public:
            if isinstance(message, Data) and message.key in self._fetches:
                if message.data is not None:
                    self._remember(message.key, message.data)
                self._answer(message.key, message)
            return
        sender = frames[0]
        if isinstance(message, Put) and source is self._local:
            self._shelf.keep(message.key, message.data)
            self._send(source, sender, Kept(message.key))
        elif isinstance(message, Get):
            found = self._find(message.key)
            if found is not None:
                self._send(source, sender, Data(message.key, found))
            elif source is self._local and message.address not in ("", self.address):
                self._fetch(message.key, message.address)
                self._fetches[message.key].waiting.append((source, sender))
            else:
                self._send(source, sender, Data(message.key, None, "no such result here"))

    def _find(self, key: str) -> bytes | None:
        data = self._shelf.find(key)
        return self._fetched.get(key) if data is None else data

    def _fetch(self, key: str, address: str) -> None:
        if key in self._fetches:
            return
        peer = self._peers.get(address)
        if peer is None:
            try:
                peer = self._sockets.connect(self._context, address)
            except zmq.ZMQError:
                self._fetches[key] = Fetch(time.monotonic(), [])
                return
            self._peers[address] = peer
            self._poller.register(peer, zmq.POLLIN)
        self._fetches[key] = Fetch(time.monotonic() + self._patience, [])
        peer.send(STORE.encode(Get(key)))

    def _answer(self, key: str, data: Data) -> None:
        for socket, sender in self._fetches.pop(key).waiting:
            self._send(socket, sender, data)

    def _send(self, socket: "zmq.Socket[bytes]", to: bytes, message: Kept | Data) -> None:
        with suppress(zmq.ZMQError):  # the asker is gone
            socket.send_multipart([to, STORE.encode(message)], zmq.NOBLOCK)

    def _remember(self, key: str, data: bytes) -> None:
        self._fetched[key] = data
        self._fetched_bytes += len(data)
        while self._fetched_bytes > FETCHED_KEPT and len(self._fetched) > 1:
            _, old = self._fetched.popitem(last=False)
            self._fetched_bytes -= len(old)

    def _forget(self, key: str) -> None:
        self._shelf.forget(key)
        fetched = self._fetched.pop(key, None)
        if fetched is not None:
            self._fetched_bytes -= len(fetched)


class SlotResults:
    """The store as a slot process reaches it; connects when it is first needed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: zmq.Socket[bytes] | None = None

    def get(self, stored: Stored) -> bytes:
        """The bytes of a result, from here or from the executor that has it."""
        answer = self._ask(Get(stored.key, stored.address))
        if not isinstance(answer, Data) or answer.data is None:
            raise InputLostError(stored.key)
        return answer.data

    def put(self, key: str, data: bytes) -> None:
        """Hand a result over; returns when it is kept."""
        self._ask(Put(key, data))

    def _ask(self, message: Get | Put) -> object:
        if self._socket is None:
            self._socket = PlainSockets().connect(zmq.Context(), self._address)
        self._socket.send(STORE.encode(message))
        while True:
            answer = STORE.decode(self._socket.recv())
            # The answer to a task that was cancelled while it waited may come first.
            if isinstance(answer, Kept | Data) and answer.key == message.key:
                return answer
