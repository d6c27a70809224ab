"""``python -m benchmarks.placement``: how long a plan takes, and how good it is.

Each round places ten apps of ten containers, with rules within and across apps, on a half-full
cluster of uneven nodes. Time runs from the snapshot to the plan, wholly judged; cpu time is given
beside wall time, which a busy machine stretches.
"""

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.placement.clusters import Shape, make_cluster, make_round
from benchmarks.report import machine, median, percentile, show, write
from colchis_master.lra import ALGORITHMS, Settings, schedule
from colchis_master.lra.highs import quiet_stdout


class Series:
    """The rounds on clusters of one size; all algorithms get the same ones, in turn."""

    def __init__(self, size: int, algorithms: list[str], settings: Settings, seed: int) -> None:
        self.size = size
        self._settings = settings
        self._rng = random.Random(seed)
        self._shape = Shape(size)
        self._cluster = make_cluster(self._shape, self._rng)
        self._taken: dict[str, list[float]] = {name: [] for name in algorithms}
        self._busy: dict[str, list[float]] = {name: [] for name in algorithms}
        self._plans: dict[str, list[Any]] = {name: [] for name in algorithms}

    def round(self, number: int) -> None:
        """One more round, on a new cluster after every five."""
        if number and number % 5 == 0:
            self._cluster = make_cluster(self._shape, self._rng)
        apps = make_round(self._shape, self._rng)
        for name, plans in self._plans.items():
            started, worked = time.perf_counter(), time.process_time()
            plan = schedule(
                self._cluster,
                apps,
                algorithm=name,
                settings=self._settings,
                clock=time.monotonic,
                rng=random.Random(number),
            )
            self._taken[name].append(time.perf_counter() - started)
            self._busy[name].append(time.process_time() - worked)
            plans.append(plan)

    def rows(self) -> list[dict[str, Any]]:
        """What was measured, a row for each algorithm."""
        rows = []
        for name, found in self._plans.items():
            gaps = [plan.gap for plan in found if plan.gap is not None]
            rows.append(
                {
                    "nodes": self.size,
                    "algorithm": name,
                    "median_s": median(self._taken[name]),
                    "p95_s": percentile(self._taken[name], 0.95),
                    "cpu_p95_s": percentile(self._busy[name], 0.95),
                    "objective": median([plan.objective for plan in found]),
                    "gap_median": median(gaps) if gaps else None,
                    "gap_max": max(gaps) if gaps else None,
                    "optimal": sum(plan.optimal for plan in found),
                    "rounds": len(found),
                    "apps_placed": sum(app.placed for plan in found for app in plan.apps)
                    / len(found),
                    "violating": sum(plan.totals.violating for plan in found) / len(found),
                    "extent": sum(plan.totals.extent for plan in found) / len(found),
                }
            )
        return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and violations against the number of nodes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    for name in dict.fromkeys(row["algorithm"] for row in rows):
        own = [row for row in rows if row["algorithm"] == name]
        sizes = [row["nodes"] for row in own]
        left.plot(sizes, [row["p95_s"] for row in own], marker="o", label=name)
        right.plot(sizes, [row["violating"] for row in own], marker="o", label=name)
    left.set(xscale="log", yscale="log", xlabel="nodes", ylabel="p95, seconds")
    right.set(xscale="log", xlabel="nodes", ylabel="containers that miss a rule, mean")
    left.axhline(1.0, color="grey", linewidth=0.8)
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placement", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 500, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--time-limit", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    settings = Settings(gap=options.gap, time_limit=options.time_limit)
    with quiet_stdout():
        import highspy

        highspy.Highs()  # type: ignore[no-untyped-call] # untyped library
    series = [Series(size, options.algorithms, settings, options.seed) for size in options.nodes]
    # Sizes in turn: a machine that is quicker at times is so for all of them.
    for number in range(options.rounds):
        print(f"  round {number + 1} of {options.rounds}", file=sys.stderr)
        for one in series:
            one.round(number)
    rows: list[dict[str, Any]] = []
    for one in series:
        found = one.rows()
        show(f"{one.size} nodes, ten apps of ten containers", found)
        rows += found
    path = write("placement", rows, options.out, gap=options.gap, time_limit=options.time_limit)
    plot(rows, options.out / "placement.png")
    print(f"written: {path} (load {machine()['load']})")


if __name__ == "__main__":
    main()
