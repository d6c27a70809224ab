"""How the job service waits for messages: asleep, or awake for a moment after a launch.

Whoever sleeps is woken late, and maybe on another core, with what it needs gone from the caches:
for the service that is a good part of a short task's way. So where the answer to a launch is
expected soon it stays awake for it, as long as nobody else wants the core.
"""

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

AWAKE = 0.001
"""Seconds after a launch for which messages are waited for awake."""
GAP = 0.00006
"""Seconds between two looks at the clock in which somebody else must have had the core."""
ASLEEP = 0.3
"""Seconds for which the core is then left to others."""

T = TypeVar("T")


class Waiting(Generic[T]):
    """Waits with ``poll``, which takes milliseconds and returns what has arrived, maybe nothing.

    With less than two ``cores`` whoever is to answer needs the one that we have. ``clock`` is
    monotonic, in seconds.
    """

    def __init__(
        self,
        poll: Callable[[int], list[T]],
        *,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._awake_until = -math.inf
        self._asleep_until = math.inf if cores < 2 else -math.inf

    def expect(self, now: float) -> None:
        """An answer to what has just been sent will be there soon."""
        if now >= self._asleep_until:
            self._awake_until = now + AWAKE

    def until(self, due: float) -> list[T]:
        """What arrives first, or nothing when it is ``due``."""
        now = self._clock()
        while now < min(self._awake_until, due):
            arrived = self._poll(0)
            last, now = now, self._clock()
            if now - last > GAP:
                self._awake_until, self._asleep_until = -math.inf, now + ASLEEP
            if arrived:
                return arrived
        return self._poll(max(0, math.ceil((due - now) * 1000)))
