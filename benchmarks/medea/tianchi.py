"""``python -m benchmarks.medea.tianchi --data DIR``: a real cluster's 68,224 containers.

Three tasks: all containers on the real machines, from empty; from the given start (those not yet
running placed, missed rules repaired by moves); and into as few uniform 32-core/64-GB bins as
possible. Every result is judged by a check of its own.
"""

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import show, write
from colchis_master.lra.bulk import (
    Bulk,
    Limit,
    alignment,
    emptiest,
    first,
    least_nodes,
    pack,
)
from colchis_master.lra.families import Ints

BIN = (32, 64)


@dataclass(frozen=True, slots=True)
class Data:
    """``capacity`` in cores and GB, machines with most cores first."""

    capacity: Ints
    needs: Ints
    counts: Ints
    limits: list[Limit]
    start: list[tuple[int, int]]
    """App and machine of each container that runs at the start."""


def read(folder: Path) -> Data:
    """Raises FileNotFoundError where a file is missing."""
    with (folder / "processed_data.csv").open() as file:
        apps = list(csv.DictReader(file, delimiter="\t"))
    index = {f"app_{row['app_id']}": i for i, row in enumerate(apps)}
    needs = np.array([[int(float(r["cpu"])), int(float(r["memory"]))] for r in apps])
    counts = np.array([int(row["instance_num"]) for row in apps])
    with (folder / "machine_resources.csv").open() as file:
        machines = [(row[0], int(row[1]), int(row[2])) for row in csv.reader(file)]
    machines.sort(key=lambda row: -row[1])
    place = {row[0]: i for i, row in enumerate(machines)}
    with (folder / "app_interference.csv").open() as file:
        limits = [Limit(index[a], index[b], int(k)) for a, b, k in csv.reader(file)]
    with (folder / "instance_deploy.csv").open() as file:
        start = [
            (index[row[1]], place[row[2]])
            for row in csv.reader(file)
            if len(row) > 2 and row[2] and row[1] in index
        ]
    capacity = np.array([[cpus, memory] for _, cpus, memory in machines])
    return Data(capacity, needs, counts, limits, start)


def check(bulk: Bulk, limits: list[Limit]) -> tuple[int, int]:
    """Missed rules (rule and machine) and overfilled machines, counted plainly."""
    missed = 0
    for limit in limits:
        most = limit.most + (limit.app == limit.of)
        for node in bulk.on[limit.app]:
            missed += bulk.on[limit.of].get(node, 0) > most
    used = np.zeros_like(bulk.capacity)
    for app, held in enumerate(bulk.on):
        for node, count in held.items():
            used[node] += bulk.needs[app] * count
    return missed, int((used > bulk.capacity).any(axis=1).sum())


def row(
    task: str, algorithm: str, bulk: Bulk, limits: list[Limit], seconds: float, **more: Any
) -> dict[str, Any]:
    missed, overfilled = check(bulk, limits)
    return {
        "task": task,
        "algorithm": algorithm,
        "seconds": round(seconds, 2),
        "machines": bulk.used(),
        "bound": more.pop("bound", None),
        "placed": bulk.placed,
        "of": int(bulk.counts.sum()),
        "rules_missed": missed,
        "overfilled": overfilled,
        "moves": more.pop("moves", None),
        "misplaced": more.pop("misplaced", None),
    }


def from_empty(data: Data, seconds: float) -> list[dict[str, Any]]:
    """One quick pass, the best in the time, and plain first fit beside them."""
    rows = []
    bound = least_nodes(data.capacity, data.needs, data.counts)
    size = (data.needs / data.capacity.mean(axis=0)).max(axis=1)
    for name, opened, score in (
        ("first fit by size", len(data.capacity), first),
        ("colchis, one pass", round(bound * 1.008), alignment),
    ):
        started = time.monotonic()
        bulk = Bulk(data.capacity, data.needs, data.counts, data.limits)
        order = bulk.hot_first()
        if score is first:
            order = [int(app) for app in np.argsort(-size, kind="stable")]
        bulk.fill(order, opened, score)
        taken = time.monotonic() - started
        rows.append(row("from empty", name, bulk, data.limits, taken, bound=bound))
    started = time.monotonic()
    bulk, history = pack(
        data.capacity,
        data.needs,
        data.counts,
        data.limits,
        clock=time.monotonic,
        seconds=seconds,
    )
    taken = time.monotonic() - started
    rows.append(row("from empty", "colchis, packed", bulk, data.limits, taken, bound=bound))
    print("machines over time:", [(round(at, 1), used) for at, used in history])
    return rows


def uniform(data: Data, seconds: float) -> list[dict[str, Any]]:
    """Bins of one size; apps larger than a bin are left out, all rules kept."""
    fits = (data.needs <= np.array(BIN)).all(axis=1)
    counts = np.where(fits, data.counts, 0)
    capacity = np.tile(np.array([BIN]), (12_000, 1))
    bound = least_nodes(capacity, data.needs, counts)
    started = time.monotonic()
    bulk, history = pack(
        capacity, data.needs, counts, data.limits, clock=time.monotonic, seconds=seconds
    )
    taken = time.monotonic() - started
    print("bins over time:", [(round(at, 1), used) for at, used in history])
    return [row("uniform bins", "colchis, packed", bulk, data.limits, taken, bound=bound)]


def from_start(data: Data) -> list[dict[str, Any]]:
    """What runs stays where it can; misplaced containers are moved, the others placed."""
    bulk = Bulk(data.capacity, data.needs, data.counts, data.limits)
    for app, node in data.start:
        bulk.add(app, node)
    before = row("given start", "as given", bulk, data.limits, 0.0)
    started = time.monotonic()
    misplaced = len(bulk.misplaced())
    moves, stuck = bulk.repair()
    bulk.fill(bulk.hot_first(), len(data.capacity), emptiest)
    taken = time.monotonic() - started
    if stuck:
        print(f"{len(stuck)} containers could not be moved")
    after = row(
        "given start",
        "colchis, repaired",
        bulk,
        data.limits,
        taken,
        moves=len(moves),
        misplaced=misplaced,
    )
    return [before, after]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.medea.tianchi", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--seconds", type=float, default=100.0, help="for each packing")
    parser.add_argument("--tasks", nargs="+", default=["empty", "start", "uniform"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    data = read(options.data)
    rows: list[dict[str, Any]] = []
    if "empty" in options.tasks:
        rows += from_empty(data, options.seconds)
    if "start" in options.tasks:
        rows += from_start(data)
    if "uniform" in options.tasks:
        rows += uniform(data, options.seconds)
    show("Alibaba Tianchi", rows)
    print("written:", write("tianchi", rows, options.out))


if __name__ == "__main__":
    main()
