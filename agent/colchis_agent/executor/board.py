"""Memory that the supervisor shares with its slot processes: one line per slot.

The supervisor writes the *order* byte, the slot everything else, so that neither undoes the
other's word; the limit is the supervisor's, too. Both bytes lie in one 32-bit word, which is all
that an iterator tests.

========  ======  =================================================
offset    size    meaning
========  ======  =================================================
0         1       order: 0 go on, 1 suspend, 2 cancel
1         1       asked: progress is wanted; the slot clears it
4         4       limit: tasks of the running lot that may be begun
8         8       seconds spent in garbage collection (double)
16        8       progress of the running task, 0 to 1, or -1 (double)
========  ======  =================================================
"""

import mmap
import struct

LINE = 64
ORDER_NONE, ORDER_SUSPEND, ORDER_CANCEL = 0, 1, 2
NO_LIMIT = 2**32 - 1
_WORD = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")


class Board:
    """All lines; made before the zygote forks, so that every slot inherits it."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self._map = mmap.mmap(-1, lines * LINE)

    def line(self, index: int) -> "Line":
        """The line of one slot."""
        return Line(self._map, index * LINE)

    def close(self) -> None:
        """Unmap."""
        self._map.close()


class Line:
    """One slot's line."""

    __slots__ = ("_map", "_offset")

    def __init__(self, shared: mmap.mmap, offset: int) -> None:
        self._map = shared
        self._offset = offset

    def word(self) -> memoryview:
        """A view whose item 0 is non-zero when anything is wanted of the task."""
        return memoryview(self._map)[self._offset : self._offset + 4].cast("I")

    def reset(self) -> None:
        """A line for a new process."""
        self._map[self._offset : self._offset + LINE] = bytes(LINE)
        self.progress = -1.0
        self.limit = NO_LIMIT

    @property
    def order(self) -> int:
        """What the supervisor wants of the running task."""
        return self._map[self._offset]

    @order.setter
    def order(self, value: int) -> None:
        self._map[self._offset] = value

    @property
    def asked(self) -> bool:
        """Whether progress is wanted."""
        return bool(self._map[self._offset + 1])

    @asked.setter
    def asked(self, value: bool) -> None:
        self._map[self._offset + 1] = value

    @property
    def limit(self) -> int:
        """How many tasks of the running lot may be begun."""
        return int(_WORD.unpack_from(self._map, self._offset + 4)[0])

    @limit.setter
    def limit(self, value: int) -> None:
        _WORD.pack_into(self._map, self._offset + 4, value)

    @property
    def gc_seconds(self) -> float:
        """Time the process has spent in garbage collection."""
        return float(_DOUBLE.unpack_from(self._map, self._offset + 8)[0])

    @gc_seconds.setter
    def gc_seconds(self, value: float) -> None:
        _DOUBLE.pack_into(self._map, self._offset + 8, value)

    @property
    def progress(self) -> float:
        """Part of its records that the running task has done when it was last asked, or -1."""
        return float(_DOUBLE.unpack_from(self._map, self._offset + 16)[0])

    @progress.setter
    def progress(self, value: float) -> None:
        _DOUBLE.pack_into(self._map, self._offset + 16, value)
