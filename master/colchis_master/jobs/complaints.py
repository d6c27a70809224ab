"""What is wrong with what peers send, told of without letting them flood the log."""

import math
from collections import Counter

import structlog

log = structlog.get_logger("jobs")

PAUSE = 60.0
"""Seconds between two lines of the same kind."""
LONGEST = 200
"""Characters of a reason; it may quote what the peer has sent."""


class Complaints:
    """``counts`` has how many there were of each kind, of which there must be few."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._due: dict[str, float] = {}

    def note(self, kind: str, who: str, why: str, now: float) -> None:
        """Count one; log it with the ``number`` since the last of its kind, if that was long ago.

        ``now`` is monotonic seconds.
        """
        self.counts[kind] += 1
        if now < self._due.get(kind, -math.inf):
            return
        self._due[kind] = now + PAUSE
        number = self.counts[kind] - self._told[kind]
        self._told[kind] = self.counts[kind]
        log.warning(kind, peer=who, why=why[:LONGEST], number=number)
