"""Regions (ranges of keys) and who serves them: decisions only, no I/O."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

KEY_PREFIX = "user"
KEY_SPACE = 1 << 64


@dataclass(frozen=True)
class Region:
    """The keys from ``start`` up to, not including, ``end`` (None: no upper end)."""

    number: int
    start: str
    end: str | None

    def holds(self, key: str) -> bool:
        return self.start <= key and (self.end is None or key < self.end)


def format_key(value: int) -> str:
    """The row key of a 64-bit number; the order of keys is that of the numbers."""
    return f"{KEY_PREFIX}{value:020d}"


def split_keyspace(count: int) -> list[Region]:
    """``count`` regions of equal width that together hold every possible key once."""
    if count < 1:
        raise ValueError("at least one region is needed")
    starts = ["", *(format_key(i * KEY_SPACE // count) for i in range(1, count))]
    return [
        Region(number, start, end)
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True))
    ]


@dataclass(frozen=True)
class Step:
    """One change at ``target``; ``move`` brings the data from ``source``."""

    kind: Literal["open", "close", "move"]
    region: int
    target: str
    source: str | None = None


def settle(
    count: int,
    owners: Mapping[int, str],
    reports: Mapping[str, Set[int]],
    silent: Set[str],
) -> dict[int, str]:
    """Who owns which of ``count`` regions, going by what the servers say.

    A server that reports is believed about what it holds. One that is silent (frozen, or slow)
    keeps what it owned, for its data would be lost otherwise. One that is gone owns nothing.
    """
    settled = {}
    for region in range(count):
        owner = owners.get(region)
        if owner is not None and (owner in silent or region in reports.get(owner, ())):
            settled[region] = owner
            continue
        holders = sorted(name for name, held in reports.items() if region in held)
        if holders:
            settled[region] = holders[0]
    return settled


def plan_steps(
    count: int, owners: Mapping[int, str], reports: Mapping[str, Set[int]]
) -> list[Step]:
    """What to do so that each region is served once and the load is even to within one region.

    ``owners`` is settled. Silent servers are left alone: nothing goes to them or comes from them.
    """
    steps = [
        Step("close", region, name)
        for name, held in sorted(reports.items())
        for region in sorted(held)
        if owners.get(region) != name
    ]
    if not reports:
        return steps
    load = {name: sorted(r for r, o in owners.items() if o == name) for name in sorted(reports)}
    for region in range(count):
        if region not in owners:
            target = min(load, key=lambda name: len(load[name]))
            load[target].append(region)
            steps.append(Step("open", region, target))
    opened = {step.region for step in steps if step.kind == "open"}
    while True:
        fullest = max(load, key=lambda name: len(load[name]))
        emptiest = min(load, key=lambda name: len(load[name]))
        movable = [region for region in load[fullest] if region not in opened]
        if len(load[fullest]) - len(load[emptiest]) <= 1 or not movable:
            return steps
        region = movable[-1]
        load[fullest].remove(region)
        load[emptiest].append(region)
        opened.add(region)
        steps.append(Step("move", region, emptiest, source=fullest))
