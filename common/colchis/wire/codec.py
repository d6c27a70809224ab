"""Messages to bytes and back; the only door through which bytes from a peer come in."""

from typing import Generic, TypeVar

import msgspec

from colchis.errors import ColchisError
from colchis.wire.messages import MAX_MESSAGE, FromAgent, FromMaster

Message = TypeVar("Message")


class WireError(ColchisError):
    """Bytes that are no message of the kind expected."""


class Codec(Generic[Message]):
    """MessagePack of a union of tagged structs."""

    def __init__(self, kind: object, *, limit: int = MAX_MESSAGE) -> None:
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(
            kind,
        )
        self._encoder = msgspec.msgpack.Encoder()
        self._limit = limit

    def encode(self, message: Message) -> bytes:
        """Raises WireError where the message is longer than a peer would take."""
        data = self._encoder.encode(message)
        if len(data) > self._limit:
            raise WireError(f"a message of {len(data)} bytes; at most {self._limit} are sent")
        return data

    def decode(self, data: bytes) -> Message:
        """Raises WireError, saying what is wrong, where ``data`` is no message."""
        if len(data) > self._limit:
            raise WireError(f"a message of {len(data)} bytes; at most {self._limit} are taken")
        try:
            return self._decoder.decode(data)
        # Text that is no UTF-8 is mostly a DecodeError, but in a tag a UnicodeDecodeError.
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(str(error)) from None


FROM_AGENT: Codec[FromAgent] = Codec(FromAgent)
FROM_MASTER: Codec[FromMaster] = Codec(FromMaster)
