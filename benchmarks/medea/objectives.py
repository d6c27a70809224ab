"""``python -m benchmarks.medea.objectives``: fragmentation, balance and machines used.

Rounds follow one another on an empty cluster until it is about half full, each algorithm on its
own copy; then the nodes it fragmented, the spread of their loads and the nodes in use are counted.
``ilp`` runs once with the default weights and once each for balance and for few machines.
"""

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.placement.clusters import Shape, make_cluster, make_round
from benchmarks.report import show, write
from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster
from colchis.semantics.checker import judge, with_assignments
from colchis_master.lra import ALGORITHMS, Settings, Weights, schedule

VARIANTS: dict[str, tuple[str, Weights]] = {
    **{name: (name, Weights()) for name in ALGORITHMS},
    "ilp, balance": ("ilp", Weights(balance=1.0)),
    "ilp, few machines": ("ilp", Weights(fragmentation=0.0, machines=1.0)),
}


def named(apps: list[AppSpec], number: int) -> list[AppSpec]:
    """The apps of a round under names of its own."""
    return [
        replace(
            app,
            name=f"r{number}{app.name}",
            rules=tuple(replace(rule, app=f"r{number}{app.name}") for rule in app.rules),
        )
        for app in apps
    ]


def fill(nodes: int, rounds: int, algorithm: str, settings: Settings, seed: int) -> Cluster:
    cluster = make_cluster(Shape(nodes, 0.0), random.Random(seed))
    rng = random.Random(seed + 1)
    for number in range(rounds):
        apps = named(make_round(Shape(nodes), rng), number)
        plan = schedule(
            cluster,
            apps,
            algorithm=algorithm,
            settings=settings,
            clock=time.monotonic,
            rng=random.Random(number),
        )
        assignments = {c: n for app in plan.apps for c, n in app.assignments.items()}
        placed = {app.app for app in plan.apps if app.placed}
        cluster = with_assignments(
            cluster,
            [c for app in apps for c in app.containers()],
            assignments,
            [rule for app in apps if app.name in placed for rule in app.rules],
        )
    return cluster


def describe(name: str, cluster: Cluster, settings: Settings) -> dict[str, Any]:
    keep = settings.keep_free
    used = [node for node in cluster.nodes if cluster.on_node[node.name]]
    shares = np.array(
        [
            max(
                1 - cluster.free[node.name].get(name) / amount
                for name, amount in node.capacity.amounts
            )
            for node in cluster.nodes
        ]
    )
    verdict = judge(cluster)
    return {
        "algorithm": name,
        "containers": len(cluster.containers),
        "machines": len(used),
        "fragmented": sum(not keep.fits_in(cluster.free[node.name]) for node in used),
        "load_mean": float(shares.mean()),
        "load_square": float((shares**2).mean()),
        "load_cv": float(shares.std() / max(1e-9, float(shares.mean()))),
        "load_max": float(shares.max()),
        "violating": verdict.violating,
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.5))
    names = [row["algorithm"] for row in rows]
    for axis, key in zip(axes, ("fragmented", "load_square", "machines"), strict=True):
        axis.barh(names, [row[key] for row in rows])
        axis.set_title(key)
        axis.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.medea.objectives", description=__doc__
    )
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    rows = []
    for name, (algorithm, weights) in VARIANTS.items():
        settings = Settings(time_limit=options.time_limit, gap=0.01, weights=weights)
        cluster = fill(options.nodes, options.rounds, algorithm, settings, options.seed)
        rows.append(describe(name, cluster, settings))
    show(f"Global objectives, {options.nodes} nodes, {options.rounds} rounds", rows)
    print("written:", write("objectives", rows, options.out, nodes=options.nodes))
    plot(rows, options.out / "objectives.png")


if __name__ == "__main__":
    main()
