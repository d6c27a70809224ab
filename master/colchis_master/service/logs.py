"""Reading containers' output from their agents."""

import asyncio
import codecs
from collections.abc import Callable

from colchis.wire.messages import LogChunk, ReadLog
from colchis_master.api.control import ControlError

PATIENCE = 10.0
"""Seconds within which an agent has to answer."""


class LogReads:
    """Questions under way, by their number."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._next = 1
        self._waiting: dict[int, asyncio.Future[LogChunk]] = {}

    async def read(
        self, container: str, offset: int, limit: int, send: Callable[[ReadLog], bool]
    ) -> LogChunk:
        """The agent's answer. Raises ControlError where there is none or it has nothing."""
        number, self._next = self._next, self._next + 1
        future: asyncio.Future[LogChunk] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            if not send(ReadLog(self._epoch, number, container, offset, limit)):
                raise ControlError(503, f"the node of {container} is not connected")
            chunk = await asyncio.wait_for(future, PATIENCE)
        except TimeoutError:
            raise ControlError(504, f"no answer from the node of {container}") from None
        finally:
            self._waiting.pop(number, None)
        if chunk.error:
            raise ControlError(404, chunk.error)
        return chunk

    def answered(self, chunk: LogChunk) -> None:
        """A chunk has come; one that nobody waits for is dropped."""
        future = self._waiting.get(chunk.request)
        if future is not None and not future.done():
            future.set_result(chunk)


def whole_text(data: bytes, *, final: bool) -> tuple[str, int]:
    """The text in ``data``, and the bytes at its end that begin a character still to come.

    Those are left for the next read, unless ``final``; what is no UTF-8 is replaced.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    return text, len(decoder.getstate()[0])
