"""Lines between processes of one machine, over Unix stream sockets.

A message wakes nobody but its receiver, where one over ZeroMQ wakes a thread at each end besides.
Who may connect is who may write to the socket's file: its owner. A frame is its length in four
bytes, then its bytes; how frames were put together into messages does not come across.

As with ZeroMQ, the connecting end connects again by itself, and keeps for the next connection what
it has not sent yet; what was sent and not read is lost with the connection.
"""

import itertools
import math
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from colchis.errors import InputError
from colchis.wire.codec import WireError
from colchis.wire.lines import Fault
from colchis.wire.work import MAX_MESSAGE

SCHEME = "unix://"
QUEUE = 100_000
"""Messages that wait for one slow peer before further ones are refused."""
AGAIN = 0.01, 0.2
"""Seconds between two attempts to connect: at first, doubled each time, and at most."""
REST = 1.0
"""Seconds for which nobody is let in where that failed, unless somebody leaves."""
LONGEST_PATH = 107
"""Bytes of a socket file's path (``sun_path`` and its end)."""
NEW = "~"
"""What a socket file's name has at its end until it listens."""

_LENGTH = struct.Struct("<I")
_READ = 2**16
"""Bytes read at once; memory for much more is not had for nothing."""
_TOGETHER = 64
"""Messages written at once."""
_FLAGS = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT


def path_of(address: str) -> str:
    """The path in ``unix://PATH``. Raises InputError where no socket file can have it."""
    path = address.removeprefix(SCHEME)
    size = len(os.fsencode(path + NEW))
    if not path.startswith("/") or "\0" in path or size > LONGEST_PATH:
        message = (
            f"{address}: an absolute path of {LONGEST_PATH - len(NEW)} bytes at most is needed"
        )
        raise InputError.of(message, field="address")
    return path


def packed(frames: Sequence[bytes]) -> bytes:
    """Frames as they travel. Raises WireError where one is too long."""
    parts: list[bytes] = []
    for frame in frames:
        if len(frame) > MAX_MESSAGE:
            raise WireError(f"a frame of {len(frame)} bytes; at most {MAX_MESSAGE} are sent")
        parts += (_LENGTH.pack(len(frame)), frame)
    return b"".join(parts)


class Reader:
    """Frames from the bytes of a stream, however those were cut."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._needed = _LENGTH.size
        """Bytes of the rest with which there is something to be made of it."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete with ``data``; to be taken to its end.

        Raises WireError after those before a frame that is too long, of which nothing is kept.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end = 0, len(data)
        self._needed = _LENGTH.size
        while end - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > self._limit:
                raise WireError(f"a frame of {length} bytes; at most {self._limit} are taken")
            after = at + _LENGTH.size + length
            if after > end:
                self._needed = after - at
                break
            yield data[at + _LENGTH.size : after]
            at = after
        if at < end:
            self._rest += data[at:]


class Stream:
    """One connection. ``waiting`` is what is to be sent over it, and may outlive it."""

    def __init__(
        self, connected: socket.socket, poll: "select.epoll", waiting: deque[bytes]
    ) -> None:
        self.waiting = waiting
        self.nonsense: WireError | None = None
        self._socket = connected
        self._poll = poll
        self._reader = Reader()
        self._sent = 0
        """Bytes sent of the first that waits."""
        self._writing = bool(waiting)
        poll.register(connected, select.EPOLLIN | (select.EPOLLOUT if waiting else 0))

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, data: bytes) -> bool:
        """Send, or keep until the peer takes it; False where too much waits or nobody is there."""
        if len(self.waiting) >= QUEUE:
            return False
        self.waiting.append(data)
        return len(self.waiting) > 1 or self.flush()

    def flush(self) -> bool:
        """Send what the peer takes of what waits; False where there is none any more."""
        waiting = self.waiting
        while waiting:
            parts: list[bytes | memoryview] = list(itertools.islice(waiting, _TOGETHER))
            parts[0] = memoryview(waiting[0])[self._sent :]
            try:
                sent = self._socket.sendmsg(parts, (), _FLAGS)
            except BlockingIOError:
                break
            except OSError:
                # What polls us finds the end of the stream.
                return False
            sent += self._sent
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.popleft())
            self._sent = sent
        if self._writing != bool(waiting):
            self._writing = bool(waiting)
            events = select.EPOLLIN | (select.EPOLLOUT if waiting else 0)
            self._poll.modify(self._socket, events)
        return True

    def read(self) -> tuple[list[bytes], bool]:
        """What has arrived, some of it if it is much; and whether more may come.

        ``nonsense`` says then what was wrong, if that is why none may.
        """
        frames: list[bytes] = []
        try:
            data = self._socket.recv(_READ, _FLAGS)
            frames.extend(self._reader.feed(data))
        except BlockingIOError:
            return frames, True
        except OSError:
            return frames, False
        except WireError as error:
            self.nonsense = error
            return frames, False
        return frames, bool(data)

    def break_off(self) -> None:
        """Have what polls us find the end of the stream."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        # A process that was forked from ours may have the socket, too, and keep it open.
        self._poll.unregister(self._socket)
        self.break_off()
        self._socket.close()


class UnixLine:
    """The end that connects, and goes on trying to. Any thread may send; one has the rest."""

    def __init__(self, address: str) -> None:
        """Raises InputError where the address is none."""
        self._path = path_of(address)
        self._poll = select.epoll()
        self._waiting: deque[bytes] = deque()
        self._stream: Stream | None = None
        self._lock = threading.Lock()
        """Held by who changes or uses the stream."""
        self._pause = AGAIN[0]
        self.due = 0.0
        self.faults: list[Fault] = []
        self.again()

    @property
    def source(self) -> int:
        """An epoll descriptor, the same for all connections."""
        return self._poll.fileno()

    def again(self) -> None:
        """Connect, unless it is too early or done."""
        now = time.monotonic()
        if now < self.due:
            return
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connecting.connect(self._path)
        except OSError:
            connecting.close()
            self.due = now + self._pause
            self._pause = min(2 * self._pause, AGAIN[1])
            return
        with self._lock:
            self.due, self._pause = math.inf, AGAIN[0]
            self._stream = Stream(connecting, self._poll, self._waiting)
            self._stream.flush()

    def arrived(self, most: int) -> Iterator[list[bytes]]:
        """What has arrived."""
        stream = self._stream
        if stream is None:
            return
        frames, alive = stream.read()
        with self._lock:
            if not alive:
                stream.close()
                self._stream = None
                self.due = time.monotonic() + self._pause
            elif self._waiting:
                stream.flush()
        if frames:
            yield frames

    def identified(self, most: int) -> Iterator[tuple[str | None, list[bytes]]]:
        """The same; nobody proves a key here."""
        for frames in self.arrived(most):
            yield None, frames

    def send(self, message: Sequence[bytes]) -> bool:
        """Send, or keep until somebody is there to take it; False where too much waits."""
        data = packed(message)
        with self._lock:
            if len(self._waiting) >= QUEUE:
                return False
            stream = self._stream
            if stream is None:
                self._waiting.append(data)
                return True
            try:
                stream.send(data)
            except BaseException:
                # Ctrl-C: nobody knows whether it has been sent, and how far.
                stream.break_off()
                raise
        return True

    def close(self, patience: float) -> None:
        """End it, once what waits has been sent or so many seconds have passed."""
        with self._lock:
            stream = self._stream
            if stream is not None:
                _see_off([stream], patience)
                stream.close()
                self._stream = None
            self.due = math.inf
            self._poll.close()


class UnixServer:
    """The end that listens."""

    def __init__(self, address: str) -> None:
        """Listen in place of who did so before.

        Raises InputError where the address is none, OSError where no file can be made there.
        """
        self._path = path_of(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        new = Path(self._path + NEW)
        try:
            new.unlink(missing_ok=True)
            self._socket.bind(str(new))
            # Nobody can come before the file is ours alone.
            new.chmod(0o600)
            self._file = new.stat().st_ino
            self._socket.listen(1024)
            new.replace(self._path)
        except OSError:
            self._socket.close()
            raise
        self._poll = select.epoll()
        self._numbers = itertools.count(1)
        self._streams: dict[bytes, Stream] = {}
        self._routing: dict[int, bytes] = {}
        """By descriptor."""
        self.faults: list[Fault] = []
        self._let_in()

    @property
    def source(self) -> int:
        """An epoll descriptor for all connections."""
        return self._poll.fileno()

    def again(self) -> None:
        """Let peers connect again, if it is time."""
        if time.monotonic() >= self.due:
            self._let_in()

    def arrived(self, most: int) -> Iterator[list[bytes]]:
        """What has arrived, after the routing id; ids are never used again."""
        for descriptor, events in self._poll.poll(0, most):
            routing = self._routing.get(descriptor)
            if routing is None:
                self._accept()
                continue
            stream = self._streams[routing]
            if events & select.EPOLLOUT:
                stream.flush()
            if events & ~select.EPOLLOUT:
                frames, alive = stream.read()
                if not alive:
                    self._part(descriptor, routing, stream)
                if frames:
                    yield [routing, *frames]

    def identified(self, most: int) -> Iterator[tuple[str | None, list[bytes]]]:
        """The same; nobody proves a key here."""
        for message in self.arrived(most):
            yield None, message

    def send(self, message: Sequence[bytes]) -> bool:
        """Send to the peer with the routing id ``message[0]``."""
        stream = self._streams.get(message[0])
        return stream is not None and stream.send(packed(message[1:]))

    def close(self, patience: float) -> None:
        """End it, once what waits has been sent or so many seconds have passed."""
        _see_off(self._streams.values(), patience)
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        with suppress(OSError):
            if Path(self._path).stat().st_ino == self._file:
                Path(self._path).unlink()
        self._socket.close()
        self._poll.close()

    def _part(self, descriptor: int, routing: bytes, stream: Stream) -> None:
        del self._routing[descriptor], self._streams[routing]
        stream.close()
        if stream.nonsense is not None:
            self.faults.append(Fault(routing, stream.nonsense))
        if self.due < math.inf:
            # Its descriptor may be the one that was wanting.
            self._let_in()

    def _let_in(self) -> None:
        self.due = math.inf
        self._poll.register(self._socket, select.EPOLLIN)

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            # Whoever it was is gone.
            return
        except OSError as error:
            # Whoever waits would be found by every poll, though there are no descriptors left.
            self._poll.unregister(self._socket)
            self.due = time.monotonic() + REST
            self.faults.append(Fault(b"", error))
            return
        accepted.setblocking(False)
        routing = next(self._numbers).to_bytes(5, "big")
        self._streams[routing] = stream = Stream(accepted, self._poll, deque())
        self._routing[stream.fileno()] = routing


def _see_off(streams: Iterable[Stream], patience: float) -> None:
    """Send what waits, for so many seconds at most."""
    end = time.monotonic() + patience
    slow = {stream.fileno(): stream for stream in streams if stream.waiting}
    poll = select.poll()
    for descriptor in slow:
        poll.register(descriptor, select.POLLOUT)
    while slow and (left := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            if not slow[descriptor].flush() or not slow[descriptor].waiting:
                poll.unregister(descriptor)
                del slow[descriptor]
