"""The YCSB core workloads A to F and the generators they draw keys from.

Source: Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010, sections 4.1-4.3.
"""

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hb_regions import format_key

ZIPFIAN_CONSTANT = 0.99
MAX_SCAN_LENGTH = 100
FIELD_COUNT = 10
FIELD_LENGTH = 100

Kind = Literal["read", "update", "insert", "scan", "rmw"]


@dataclass(frozen=True)
class Mix:
    """One workload: the share of each kind of operation, and how records are chosen."""

    name: str
    shares: Mapping[Kind, float]
    choice: Literal["zipfian", "latest"]

    def draw(self, rng: random.Random) -> Kind:
        return rng.choices(list(self.shares), weights=list(self.shares.values()))[0]


MIXES: Mapping[str, Mix] = {
    "A": Mix("A", {"read": 0.5, "update": 0.5}, "zipfian"),
    "B": Mix("B", {"read": 0.95, "update": 0.05}, "zipfian"),
    "C": Mix("C", {"read": 1.0}, "zipfian"),
    "D": Mix("D", {"read": 0.95, "insert": 0.05}, "latest"),
    "E": Mix("E", {"scan": 0.95, "insert": 0.05}, "zipfian"),
    "F": Mix("F", {"read": 0.5, "rmw": 0.5}, "zipfian"),
}
# D and E insert, so YCSB runs them last.
DEFAULT_ORDER = "ABCFDE"


def fnv1a_64(value: int) -> int:
    """The 64-bit FNV-1a hash of the eight bytes of ``value``, as YCSB scatters its keys."""
    digest = 0xCBF29CE484222325
    for octet in value.to_bytes(8, "little"):
        digest = ((digest ^ octet) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return digest


def record_key(number: int) -> str:
    """The key of the record with this number; consecutive records lie far apart."""
    return format_key(fnv1a_64(number))


def record_fields(rng: random.Random, count: int = FIELD_COUNT) -> dict[str, str]:
    half = FIELD_LENGTH // 2
    return {f"field{i}": rng.randbytes(half).hex() for i in range(count)}


class Zipfian:
    """Ranks 0, 1, 2, … with probability proportional to 1/(rank+1)^theta, for a growing number.

    Source: Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994,
    section 4 ("Skewed distributions"). Drawing costs constant time whatever the number of items.
    """

    def __init__(self, items: int, theta: float = ZIPFIAN_CONSTANT) -> None:
        if items < 1:
            raise ValueError("at least one item is needed")
        self._theta = theta
        self._items = 0
        self._zeta = 0.0
        self._grow(items)

    def _grow(self, items: int) -> None:
        for rank in range(self._items + 1, items + 1):
            self._zeta += 1.0 / rank**self._theta
        self._items = items
        zeta2 = 1.0 + 0.5**self._theta
        # With two items or fewer the first two cases of draw() cover everything.
        self._eta = (
            (1.0 - (2.0 / items) ** (1.0 - self._theta)) / (1.0 - zeta2 / self._zeta)
            if items > 2
            else 0.0
        )

    def draw(self, rng: random.Random, items: int | None = None) -> int:
        """A rank below ``items``, which may exceed earlier numbers but not fall below them."""
        if items is not None and items > self._items:
            self._grow(items)
        u = rng.random()
        scaled = u * self._zeta
        if scaled < 1.0 or self._items == 1:
            return 0
        if scaled < 1.0 + 0.5**self._theta or self._items == 2:
            return 1
        rank = int(self._items * (self._eta * u - self._eta + 1.0) ** (1.0 / (1.0 - self._theta)))
        return min(rank, self._items - 1)


class RecordNumbers:
    """Numbers of the records in the table; new ones count only once their insert is done."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._next = count
        self._count = count
        self._done: set[int] = set()

    @property
    def count(self) -> int:
        """Records 0 to count-1 are all in the table."""
        return self._count

    def take(self) -> int:
        """The number for a new record."""
        with self._lock:
            number = self._next
            self._next += 1
            return number

    def done(self, number: int) -> None:
        with self._lock:
            self._done.add(number)
            while self._count in self._done:
                self._done.remove(self._count)
                self._count += 1


class Chooser:
    """Picks existing records as a mix wants: popular ones scattered, or the newest first."""

    def __init__(self, choice: Literal["zipfian", "latest"], numbers: RecordNumbers) -> None:
        self._latest = choice == "latest"
        self._numbers = numbers
        self._zipfian = Zipfian(numbers.count)
        self._initial = numbers.count

    def draw(self, rng: random.Random) -> int:
        if self._latest:
            count = self._numbers.count
            return count - 1 - self._zipfian.draw(rng, count)
        # Hashed, so that popular records are spread over the key space, not neighbours.
        return fnv1a_64(self._zipfian.draw(rng)) % self._initial
