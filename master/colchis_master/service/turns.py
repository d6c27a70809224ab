"""In which order the loop's work is done: requests first, the rest a piece at a time."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Piece: TypeAlias = Callable[[], object]

PASSED_OVER = 4
"""Turns of the loop in a row in which requests may keep the rest from its turn: a request takes
two, one to be handled and one to be written."""


class Turns:
    """Does what nobody waits for, one piece in each turn of the event loop, in order.

    asyncio has no priorities: without this all that is ready has its turn before what has just
    arrived is even read, and once more before that is handled. So a request waits for one piece at
    most, the one under way when it arrives; and pieces wait for requests, but not for many.

    ``soon`` calls a function in the loop's next turn. A piece that raises ends none of the others:
    ``fail`` is told.
    """

    def __init__(
        self, soon: Callable[[Callable[[], None]], object], fail: Callable[[Exception], None]
    ) -> None:
        self._soon = soon
        self._fail = fail
        self._pieces: deque[Piece] = deque()
        self._once: set[Piece] = set()
        self._expected = False
        self._passed = 0
        self._closed = False

    def close(self) -> None:
        """Do nothing more."""
        self._closed = True
        self._pieces.clear()

    def put(self, piece: Piece) -> None:
        """To be done when it is its turn."""
        if self._closed:
            return
        self._pieces.append(piece)
        if len(self._pieces) == 1:
            self._soon(self._next)

    def put_once(self, piece: Piece) -> None:
        """The same, unless it waits for its turn already."""
        if piece not in self._once:
            self._once.add(piece)
            self.put(piece)

    def first(self) -> None:
        """What is ready by the loop's next turn goes before the next piece."""
        self._expected = True

    async def turn(self) -> None:
        """Return when it would be a piece's turn. What the caller does then counts as the piece."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.put(lambda: self._give(future))
        await future

    def _give(self, future: "asyncio.Future[None]") -> None:
        if not future.done():
            future.set_result(None)
            self._expected = True

    def _next(self) -> None:
        if self._closed:
            return
        if self._expected and self._passed < PASSED_OVER:
            self._expected = False
            self._passed += 1
            self._soon(self._next)
            return
        self._expected = False
        self._passed = 0
        piece = self._pieces.popleft()
        self._once.discard(piece)
        if self._pieces:
            self._soon(self._next)
        try:
            piece()
        except Exception as error:  # the loop would go on as if nothing had happened
            self._fail(error)
