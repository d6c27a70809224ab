"""Bounds of what a job asks for, held where its user can still be told.

The job service drops a message with anything beyond them, and nobody would ever be answered.
"""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

from colchis.wire.jobs import MAX_RETRIES, MAX_TASKS
from colchis.wire.work import BATCH, MAX_BUCKETS, MAX_COUNT, MAX_PRIORITY, MAX_TEXT, STREAM

PRIORITIES = {"stream": STREAM, "batch": BATCH}


def _bounded(what: str, value: SupportsIndex, low: int, high: int) -> int:
    right = f"{what} {value!r}: a whole number from {low} to {high}"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(right) from None
    if not low <= number <= high:
        raise ValueError(right)
    return number


def priority_of(priority: str | int) -> int:
    """The number of a priority; raises ValueError for a name or a number that is none."""
    if isinstance(priority, int):
        return _bounded("priority", priority, 0, MAX_PRIORITY)
    try:
        return PRIORITIES[priority]
    except KeyError:
        names = ", ".join(PRIORITIES)
        raise ValueError(f"priority {priority!r}: {names} or a number") from None


def retries_of(retries: int) -> int:
    return _bounded("retries", retries, 0, MAX_RETRIES)


def memory_of(memory: int) -> int:
    return _bounded("memory", memory, 0, MAX_COUNT)


def partitions_of(partitions: int) -> int:
    return _bounded("partitions", partitions, 1, MAX_TASKS)


def buckets_of(partitions: int) -> int:
    """Partitions that records are shuffled to."""
    return _bounded("partitions", partitions, 1, MAX_BUCKETS)


def name_of(name: str) -> str:
    return _text("a job's name", name)


def prefer_of(prefer: Sequence[str]) -> list[str]:
    return [_text('what a task prefers ("" for nothing)', place) for place in prefer]


def _text(what: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{what} is text of at most {MAX_TEXT} characters, not {value!r:.100}")
    return value
