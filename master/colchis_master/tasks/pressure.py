"""Real-time pressure of an executor, from a sliding window of its heartbeats."""

import math
from collections import deque

Bucketed = tuple[int, int, int, int, int, int]

_MEBI = 2**20
_STEP = 0.05
"""Shares within one step count as equal."""


class Window:
    """The samples of one measure during the last ``seconds`` before the newest heartbeat.

    Age counts from the newest heartbeat, not from now: an executor that has been silent for a while
    keeps its last known pressure. Missing values are left out of mean and deviation.
    """

    __slots__ = ("_samples", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, at: float, value: float | None) -> None:
        """Take in a sample; one that is missing, negative or no number only ages the others."""
        while self._samples and self._samples[0][0] <= at - self.seconds:
            self._samples.popleft()
        if value is not None and math.isfinite(value) and value >= 0:
            self._samples.append((at, value))

    @property
    def mean(self) -> float:
        """0 where nothing is known."""
        count = len(self._samples)
        return math.fsum(value for _, value in self._samples) / count if count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation of the samples themselves: of 70 and 90 it is 10."""
        count = len(self._samples)
        if count < 2:
            return 0.0
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for _, value in self._samples) / count)


class Pressure:
    """Spilled bytes, memory share and garbage collection share, each as mean, then deviation.

    Compared in that order, without weights or thresholds (Neptune, LMA policy); bucketed so that
    executors that are nearly equal tie: bytes by powers of two above one MiB, shares by steps.
    """

    __slots__ = ("bucketed", "gc", "memory", "spilled")

    def __init__(self, seconds: float) -> None:
        self.spilled, self.memory, self.gc = Window(seconds), Window(seconds), Window(seconds)
        self.bucketed: Bucketed = (0, 0, 0, 0, 0, 0)

    def add(self, at: float, spilled: float | None, memory: float | None, gc: float | None) -> bool:
        """Take in a heartbeat; whether the bucketed value changed."""
        self.spilled.add(at, spilled)
        self.memory.add(at, memory)
        self.gc.add(at, gc)
        before = self.bucketed
        self.bucketed = (
            _bytes_bucket(self.spilled.mean),
            _bytes_bucket(self.spilled.deviation),
            _share_bucket(self.memory.mean),
            _share_bucket(self.memory.deviation),
            _share_bucket(self.gc.mean),
            _share_bucket(self.gc.deviation),
        )
        return self.bucketed != before

    def __str__(self) -> str:
        return (
            f"spilled {self.spilled.mean / _MEBI:.1f} MiB, memory {self.memory.mean:.0%}, "
            f"gc {self.gc.mean:.0%}"
        )


def _bytes_bucket(value: float) -> int:
    return int(math.log2(1 + value / _MEBI))


def _share_bucket(value: float) -> int:
    return round(value / _STEP)
