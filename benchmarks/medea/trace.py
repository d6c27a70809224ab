"""A trace of which nodes are down, hour by hour, as upgrade domains go down together.

Modelled on what Medea (EuroSys'18, section 2) says of machines in service units: in most hours few
of a unit's machines are away, now and then a quarter of them up to all at once, and units fail
apart from each other. The numbers are chosen here, not measured there.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Down = NDArray[np.bool_]

HOURS = 15 * 24


@dataclass(frozen=True, slots=True)
class Habits:
    """``upgrade_days`` lie between two upgrades of all domains, one domain after another.

    Each domain has an outage with ``outage`` as its chance per hour, in which a share of its nodes
    drawn from ``outage_share`` is away for hours drawn from ``outage_hours``. A node fails alone
    with the chance ``failure`` per hour, for ``repair_hours``.
    """

    upgrade_days: int = 5
    outage: float = 0.002
    outage_share: tuple[float, float] = (0.25, 1.0)
    outage_hours: tuple[int, int] = (1, 6)
    failure: float = 0.0005
    repair_hours: tuple[int, int] = (2, 24)


def make_trace(
    domains: Mapping[str, Sequence[int]],
    nodes: int,
    rng: random.Random,
    hours: int = HOURS,
    habits: Habits | None = None,
) -> Down:
    """Hours by nodes, true where a node is down; ``domains`` holds the nodes' numbers."""
    kept = habits or Habits()
    down = np.zeros((hours, nodes), dtype=np.bool_)
    period = kept.upgrade_days * 24
    order = sorted(domains)
    for begin in range(0, hours, period):
        rng.shuffle(order)
        for place, domain in enumerate(order):
            hour = begin + place * period // len(order)
            down[hour : hour + 1, list(domains[domain])] = True
    for domain in sorted(domains):
        members = list(domains[domain])
        for hour in range(hours):
            if rng.random() < kept.outage:
                hit = rng.sample(members, max(1, round(len(members) * _uniform(kept, rng))))
                down[hour : hour + rng.randint(*kept.outage_hours), hit] = True
    for node in range(nodes):
        for hour in range(hours):
            if rng.random() < kept.failure:
                down[hour : hour + rng.randint(*kept.repair_hours), node] = True
    return down


def _uniform(habits: Habits, rng: random.Random) -> float:
    return rng.uniform(*habits.outage_share)
