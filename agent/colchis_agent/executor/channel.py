"""Messages between the supervisor and a slot process, over a stream socket pair.

Each frame is its length in four bytes, then MessagePack. A second socket pair, *aside*, takes the
results of a lot while it goes on: nobody is woken by them, and the supervisor reads them now and
then, and always before what comes over the first. Both ends belong to the executor, but a
slot runs users' code: the supervisor checks what it reads like anything else from outside.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from colchis.wire.work import MAX_INLINE, MAX_LOT, MAX_MESSAGE, Count, Failure, Name, Work

LENGTH = struct.Struct("<I")


class ChannelError(Exception):
    """The other end is gone, or speaks nonsense."""


class Start(Struct, frozen=True, tag=1, array_like=True):
    """Begin an attempt; ``more`` are the further tasks of a lot."""

    attempt: Count
    work: Work
    more: Annotated[list[Work], Meta(max_length=MAX_LOT)] = []


class Go(Struct, frozen=True, tag=2, array_like=True):
    """Go on with a parked attempt."""

    attempt: Count


class Throw(Struct, frozen=True, tag=3, array_like=True):
    """Cancel a parked attempt: raise inside it."""

    attempt: Count


ToSlot = Start | Go | Throw


class Ready(Struct, frozen=True, tag=1, array_like=True):
    """The slot process waits for its first order."""


class Parked(Struct, frozen=True, tag=2, array_like=True):
    """The attempt has yielded."""

    attempt: Count


class Returned(Struct, frozen=True, tag=3, array_like=True):
    """The attempt's results per bucket: bytes, or the size of one that went to the store."""

    attempt: Count
    results: list[Annotated[bytes, Meta(max_length=MAX_INLINE)] | Count]
    seconds: float


class Raised(Struct, frozen=True, tag=4, array_like=True):
    """The attempt raised."""

    attempt: Count
    failure: Failure


class Unwound(Struct, frozen=True, tag=5, array_like=True):
    """The attempt ended by its cancellation."""

    attempt: Count


class Starved(Struct, frozen=True, tag=6, array_like=True):
    """The attempt's input ``key`` could not be fetched."""

    attempt: Count
    key: Name


class Part(Struct, frozen=True, tag=7, array_like=True):
    """The results of one task of a lot that goes on, or is cut; sent aside."""

    attempt: Count
    index: Count
    results: list[Annotated[bytes, Meta(max_length=MAX_INLINE)] | Count]
    seconds: float


class Cut(Struct, frozen=True, tag=8, array_like=True):
    """The lot has ended before its last task: the flag was set, or the rest was given back."""

    attempt: Count


READ = 2**16
"""Bytes read at once; memory for much more is not had for nothing."""

FromSlot = Ready | Parked | Returned | Raised | Unwound | Starved | Part | Cut

_encoder = msgspec.msgpack.Encoder()
_to_slot: msgspec.msgpack.Decoder[ToSlot] = msgspec.msgpack.Decoder(ToSlot)
_from_slot: msgspec.msgpack.Decoder[FromSlot] = msgspec.msgpack.Decoder(FromSlot)


def frame(message: ToSlot | FromSlot) -> bytes:
    """The bytes of one message, length first."""
    data = _encoder.encode(message)
    return LENGTH.pack(len(data)) + data


class SlotEnd:
    """The slot's end: blocking, one message at a time."""

    def __init__(self, sock: socket.socket, aside: socket.socket) -> None:
        self._socket = sock
        self._aside = aside
        self._buffer = bytearray()

    def send(self, message: FromSlot) -> None:
        """Send one message, however long it takes."""
        self._socket.sendall(frame(message))

    def tell(self, message: Part) -> None:
        """Send aside."""
        self._aside.sendall(frame(message))

    def receive(self) -> ToSlot:
        """The next order; raises ChannelError when the supervisor is gone."""
        buffer = self._buffer
        while True:
            if len(buffer) >= LENGTH.size:
                (length,) = LENGTH.unpack_from(buffer)
                end = LENGTH.size + length
                if len(buffer) >= end:
                    message = _to_slot.decode(memoryview(buffer)[LENGTH.size : end].tobytes())
                    del buffer[:end]
                    return message
            data = self._socket.recv(READ)
            if not data:
                raise ChannelError("the supervisor is gone")
            buffer += data

    def close(self) -> None:
        """Let go of the sockets."""
        self._socket.close()
        self._aside.close()


class SupervisorEnd:
    """The supervisor's end: never blocks; what cannot be sent now waits in ``pending``."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.pending = bytearray()
        self._buffer = bytearray()

    def fileno(self) -> int:
        """For poll."""
        return self.socket.fileno()

    def send(self, message: ToSlot) -> None:
        """Send, or keep for :meth:`flush` when the socket is writable."""
        data = frame(message)
        if self.pending:
            self.pending += data
            return
        sent = self._try(data)
        if sent < len(data):
            self.pending += data[sent:]

    def flush(self) -> None:
        """Send more of what waits."""
        del self.pending[: self._try(self.pending)]

    def _try(self, data: bytes | bytearray) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # The process died; its exit is reported by the zygote, and this data is void.
            return len(data)

    def receive(self) -> Iterator[FromSlot]:
        """Every message that has arrived; raises ChannelError at nonsense or an end."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return
        except OSError as error:
            raise ChannelError(str(error)) from None
        if not data:
            raise ChannelError("the slot's end is closed")
        buffer = self._buffer
        buffer += data
        while len(buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer)
            if length > MAX_MESSAGE:
                raise ChannelError(f"a frame of {length} bytes; at most {MAX_MESSAGE} are taken")
            end = LENGTH.size + length
            if len(buffer) < end:
                return
            body = bytes(memoryview(buffer)[LENGTH.size : end])
            del buffer[:end]
            try:
                message = _from_slot.decode(body)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise ChannelError(str(error)) from None
            yield message

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close()
