"""What the stages of a job apply to their records; picklable by name, so cheap to send.

Each takes an iterator over records and returns an iterator or a value. Chained, they pull record
after record through, so that the suspension point in the first iterator serves them all.
"""

import operator
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import starmap
from typing import Any

from colchis.jobs.task import records as suspendable

Op = Callable[[Iterator[Any]], Any]


@dataclass(frozen=True)
class Map:
    """Apply a function to each record."""

    function: Callable[[Any], Any]

    def __call__(self, records: Iterator[Any]) -> Iterator[Any]:
        return map(self.function, records)


@dataclass(frozen=True)
class StarMap:
    """Apply a function to each record, a tuple of its arguments."""

    function: Callable[..., Any]

    def __call__(self, records: Iterator[Any]) -> Iterator[Any]:
        return starmap(self.function, records)


@dataclass(frozen=True)
class FlatMap:
    """Apply a function that gives any number of records for each."""

    function: Callable[[Any], Iterable[Any]]

    def __call__(self, records: Iterator[Any]) -> Iterator[Any]:
        for record in records:
            # Many may come of one, so each is a suspension point of its own.
            yield from suspendable(self.function(record))


@dataclass(frozen=True)
class Filter:
    """Keep the records for which a function is true."""

    function: Callable[[Any], object]

    def __call__(self, records: Iterator[Any]) -> Iterator[Any]:
        return filter(self.function, records)


@dataclass(frozen=True)
class Partial:
    """Reduce one partition to at most one record."""

    function: Callable[[Any, Any], Any]

    def __call__(self, records: Iterator[Any]) -> list[Any]:
        for first in records:
            return [reduce(self.function, records, first)]
        return []


@dataclass(frozen=True)
class Total:
    """Reduce everything to one value; ``initial`` is a tuple of it, or empty."""

    function: Callable[[Any, Any], Any]
    initial: tuple[Any, ...] = ()

    def __call__(self, records: Iterator[Any]) -> Any:
        return reduce(self.function, records, *self.initial)


@dataclass(frozen=True)
class Split:
    """Put each record into the bucket of its key."""

    key: Callable[[Any], Any]
    value: Callable[[Any], Any] | None
    buckets: int

    def __call__(self, records: Iterator[Any]) -> list[list[tuple[Any, Any]]]:
        buckets: list[list[tuple[Any, Any]]] = [[] for _ in range(self.buckets)]
        for record in records:
            key = self.key(record)
            value = record if self.value is None else self.value(record)
            buckets[stable_hash(key) % self.buckets].append((key, value))
        return buckets


@dataclass(frozen=True)
class Group:
    """Bring the values of each key together: (key, [value, ...]), keys as they first came."""

    def __call__(self, records: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, list[Any]]]:
        groups: dict[Any, list[Any]] = {}
        for key, value in records:
            groups.setdefault(key, []).append(value)
        return suspendable(groups.items())


@dataclass(frozen=True)
class Chain:
    """One after another, without anything kept in between."""

    ops: tuple[Op, ...]

    def __call__(self, records: Iterator[Any]) -> Any:
        value: Any = records
        for op in self.ops:
            value = op(value)
        return value


def stable_hash(key: object) -> int:
    """A hash that is the same in every process, and equal for keys that are.

    Numbers go by value (1, 1.0 and True are one key to a dict), everything else by its repr.
    """
    if isinstance(key, tuple):
        return zlib.crc32(b"".join(stable_hash(item).to_bytes(4, "little") for item in key))
    if isinstance(key, bool | int | float | complex):
        return hash(key) & 0xFFFFFFFF
    if isinstance(key, frozenset):
        return reduce(operator.xor, map(stable_hash, key), 0)
    return zlib.crc32(repr(key).encode())
