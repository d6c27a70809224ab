"""Amounts of what a node has and a container needs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property

CPUS = "cpus"
MEMORY = "memory"

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_MEMORY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")
_BINARY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def parse_memory(value: object) -> int:
    """Bytes meant by ``2GiB``, ``512MiB``, ``1.5GB`` or a plain number of bytes.

    Raises ValueError, saying what would be right.
    """
    wrong = f"{value!r} is no amount of memory; write a number with a unit, such as 512MiB or 2GiB"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wrong)
    match = _MEMORY.match(str(value))
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(wrong)
    return int(Decimal(match[1]) * _UNITS[match[2].upper()])


def format_memory(amount: int) -> str:
    """The shortest exact text with a binary unit; read back it gives the same bytes."""
    for unit, size in _BINARY:
        if amount and amount % size == 0:
            return f"{amount // size}{unit}"
    return str(amount)


def approximate_memory(amount: float) -> str:
    """Memory for people: one decimal, binary unit."""
    for unit, size in _BINARY:
        if abs(amount) >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount:.0f} B"


def parse_cpus(value: object) -> int:
    """Thousandths of a core meant by a number of cores.

    Raises ValueError, saying what would be right.
    """
    wrong = f"{value!r} is no number of cores; write a number such as 2 or 0.5"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wrong)
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(wrong) from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(wrong)
    thousandths = amount * 1000
    if thousandths != int(thousandths):
        raise ValueError(f"{value!r} cores: at most three decimals are kept")
    return int(thousandths)


@dataclass(frozen=True, slots=False)
class Resources:
    """A vector of amounts by name; names that are absent count as zero.

    ``cpus`` are whole thousandths of a core, ``memory`` bytes, anything else (``gpus``) a count,
    so that sums and comparisons are exact.
    """

    amounts: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, cpus: float | str = 0, memory: int | str = 0, **extras: int) -> "Resources":
        """From a number of cores, an amount of memory (``"2GiB"``) and counts."""
        return cls.from_amounts({CPUS: parse_cpus(cpus), MEMORY: parse_memory(memory), **extras})

    @classmethod
    def from_amounts(cls, amounts: Mapping[str, int]) -> "Resources":
        """From amounts in the units kept here."""
        return cls(tuple(sorted((name, amount) for name, amount in amounts.items() if amount)))

    @cached_property
    def by_name(self) -> Mapping[str, int]:
        return dict(self.amounts)

    def get(self, name: str) -> int:
        return self.by_name.get(name, 0)

    @property
    def millicpus(self) -> int:
        return self.get(CPUS)

    @property
    def cpus(self) -> float:
        return self.get(CPUS) / 1000

    @property
    def memory(self) -> int:
        return self.get(MEMORY)

    def names(self) -> Iterator[str]:
        return (name for name, _ in self.amounts)

    def __add__(self, other: "Resources") -> "Resources":
        total = dict(self.by_name)
        for name, amount in other.amounts:
            total[name] = total.get(name, 0) + amount
        return Resources.from_amounts(total)

    def __sub__(self, other: "Resources") -> "Resources":
        total = dict(self.by_name)
        for name, amount in other.amounts:
            total[name] = total.get(name, 0) - amount
        return Resources.from_amounts(total)

    def __mul__(self, times: int) -> "Resources":
        return Resources.from_amounts({name: amount * times for name, amount in self.amounts})

    def fits_in(self, free: "Resources") -> bool:
        """Whether ``free`` holds at least this much of everything."""
        return all(amount <= free.get(name) for name, amount in self.amounts)

    def shortages(self, free: "Resources") -> tuple[str, ...]:
        """For each name that does not fit, what is needed and what is there, in words."""
        return tuple(
            f"needs {format_amount(name, amount)}, {format_amount(name, free.get(name))} free"
            for name, amount in self.amounts
            if amount > free.get(name)
        )

    def to_spec(self) -> dict[str, int | float | str]:
        """As written in an app spec or a snapshot; cpus and memory are always there."""
        cpus = self.millicpus
        spec: dict[str, int | float | str] = {
            CPUS: cpus // 1000 if cpus % 1000 == 0 else cpus / 1000,
            MEMORY: format_memory(self.memory),
        }
        spec.update((n, a) for n, a in self.amounts if n not in (CPUS, MEMORY))
        return spec


def format_amount(name: str, amount: int) -> str:
    """An amount with its unit, for people: ``0.5 cpus``, ``2GiB memory``, ``1 gpus``."""
    if name == CPUS:
        return f"{amount / 1000:g} cpus"
    if name == MEMORY:
        return f"{format_memory(amount)} memory"
    return f"{amount} {name}"
