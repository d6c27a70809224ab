"""Reads what containers wrote."""

from collections.abc import Callable, Sequence
from pathlib import Path

from colchis.wire.messages import LogChunk
from colchis_agent.core.events import ReadOutput, Segment
from colchis_agent.driver import ContainerRef, ProcessDriver, folder_name
from colchis_agent.driver.folder import StateFolder


class Outputs:
    """Output of lives below ``root``, the driver's folder. ``forgotten`` is told of those gone."""

    def __init__(
        self, driver: ProcessDriver, root: Path, forgotten: Callable[[ContainerRef], None]
    ) -> None:
        self._driver = driver
        self._root = root
        self._forgotten = forgotten

    def length(self, ref: ContainerRef) -> int:
        """How many bytes a life has written."""
        files = StateFolder(self._root / folder_name(ref)).log_files()
        if not files:
            return 0
        start, path = files[-1]
        try:
            return start + path.stat().st_size
        except FileNotFoundError:
            return start

    def forget(self, ref: ContainerRef) -> None:
        """The life was discarded."""
        self._forgotten(ref)

    def read(self, request: ReadOutput) -> LogChunk:
        """The answer to one ``ReadLog``."""
        if not request.segments:
            return LogChunk(request.request, b"", 0, True, "no such container on this node")
        last = request.segments[-1]
        end = last.base + self.length(last.ref)
        offset = request.offset if request.offset >= 0 else max(0, end + request.offset)
        try:
            data, following = self._read(request.segments, offset, request.limit)
        except OSError as error:
            return LogChunk(request.request, b"", offset, False, str(error))
        return LogChunk(request.request, data, following, request.ended and following >= end)

    def _read(self, segments: Sequence[Segment], offset: int, limit: int) -> tuple[bytes, int]:
        for index, segment in enumerate(segments):
            following = segments[index + 1].base if index + 1 < len(segments) else None
            if following is not None and offset >= following:
                continue
            data, position = self._driver.read_logs(
                segment.ref, max(0, offset - segment.base), limit
            )
            if data or following is None:
                return data, segment.base + position
            offset = following
        return b"", offset
