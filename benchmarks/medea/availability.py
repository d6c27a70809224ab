"""How much of an app is away when upgrade domains go down, by who placed it.

    python -m benchmarks.medea.availability [--nodes N] [--apps N] [--out FOLDER]

Every algorithm places the same apps, in the same rounds, on the same cluster. Beside the apps there
are task-based containers, which come and go between rounds, in some domains more than in others
(one that comes back from an upgrade is empty). Each app asks that its containers be spread over the
upgrade domains: `{x, {self/x, 0, k}, upgrade_domain}` with the least k that can be kept, a
cardinality, which Kubernetes' rules cannot express. What Kubernetes does by itself is to spread an
app over hosts and over zones; with `--zones` the domains are its zones. Then one generated trace of
15 days takes domains and nodes down. An app's unavailability is the greatest share of its
containers that is away in any hour; reported are its median over the apps and its maximum.
`hour_*` are those of the hours' worst app.

Writes availability.json and availability.png.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.medea.trace import HOURS, Down, make_trace
from benchmarks.report import median, show, write
from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis_master.lra import ALGORITHMS, Settings, schedule

mpl.use("agg")
from matplotlib import pyplot as plt

DOMAIN = "upgrade_domain"
CAPACITY = Resources.of(16, "64GiB")
WORKER = Resources.of(2, "8GiB")
PER_ROUND = 5
TARGETS = {"median": 0.16, "maximum": 0.24}
"""How much better than `j-kube` the integer program is to be, as the paper reports."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An app has so many containers per domain as drawn from ``containers``.

    ``load`` is the mean share of cores that task-based containers use; each domain's is drawn anew
    for every round, at most the share ``uneven`` of it above or below. ``zones``: the domains are
    zones too, over which `j-kube` spreads by itself.
    """

    nodes: int = 400
    domains: int = 20
    apps: int = 30
    containers: tuple[float, float] = (1.1, 3.0)
    load: float = 0.3
    uneven: float = 0.5
    zones: bool = False


def make_cluster(shape: Shape) -> Cluster:
    """Empty nodes, dealt to the domains."""
    names = (DOMAIN, "zone") if shape.zones else (DOMAIN,)
    nodes = tuple(
        Node(f"n{i:04}", CAPACITY, dict.fromkeys(names, (f"u{i % shape.domains:02}",)))
        for i in range(shape.nodes)
    )
    return Cluster(nodes, (), {}, ())


def with_tasks(cluster: Cluster, shape: Shape, rng: random.Random) -> Cluster:
    """The cluster with the task-based containers of the moment beside its apps' containers."""
    loads = [
        shape.load * rng.uniform(1 - shape.uneven, 1 + shape.uneven) for _ in range(shape.domains)
    ]
    containers = list(cluster.containers)
    placed = dict(cluster.placed)
    for i, node in enumerate(cluster.nodes):
        share = loads[i % shape.domains] * rng.uniform(0.8, 1.2)
        room = cluster.free[node.name].millicpus // WORKER.millicpus
        for index in range(min(room, round(share * CAPACITY.cpus / WORKER.cpus))):
            one = Container.of(f"tasks/{node.name}/{index}", {"task"}, WORKER)
            containers.append(one)
            placed[one.id] = node.name
    return replace(cluster, containers=tuple(containers), placed=placed)


def make_apps(shape: Shape, rng: random.Random) -> list[AppSpec]:
    """Apps of one group each, that ask to be spread over the domains as evenly as can be."""
    apps = []
    for number in range(shape.apps):
        name, count = f"app{number}", int(shape.domains * rng.uniform(*shape.containers))
        others = -(-count // shape.domains) - 1
        text = f"{{x, {{self/x, 0, {others}}}, {DOMAIN}}}"
        rule = Rule(parse_constraint(text), "spread", name)
        group = GroupSpec("x", count, WORKER, frozenset({"x"}))
        apps.append(AppSpec(name, (group,), rules=(rule,)))
    return apps


def place_all(
    cluster: Cluster,
    apps: Sequence[AppSpec],
    algorithm: str,
    shape: Shape,
    settings: Settings,
    seed: int,
) -> tuple[Cluster, float]:
    """The cluster after all rounds, without its tasks, and the seconds that planning took."""
    rng = random.Random(f"tasks {seed}")
    seconds = 0.0
    for first in range(0, len(apps), PER_ROUND):
        some = apps[first : first + PER_ROUND]
        plan = schedule(
            with_tasks(cluster, shape, rng),
            some,
            algorithm=algorithm,
            settings=settings,
            clock=time.monotonic,
            rng=random.Random(first),
        )
        seconds += plan.seconds
        homes = {c: node for app in plan.apps for c, node in app.assignments.items()}
        new = tuple(c for app in some for c in app.containers() if c.id in homes)
        rules = tuple(
            rule
            for app, found in zip(some, plan.apps, strict=True)
            if found.placed
            for rule in app.rules
        )
        cluster = replace(
            cluster,
            containers=cluster.containers + new,
            placed={**cluster.placed, **homes},
            rules=cluster.rules + rules,
        )
    return cluster, seconds


def unavailable(cluster: Cluster, apps: Sequence[AppSpec], down: Down) -> np.ndarray[Any, Any]:
    """Hours by apps that were placed: the share of the app's containers that is away."""
    number = {node.name: i for i, node in enumerate(cluster.nodes)}
    columns = []
    for app in apps:
        homes = [cluster.placed[c.id] for c in app.containers() if c.id in cluster.placed]
        if homes:
            columns.append(down[:, [number[home] for home in homes]].mean(axis=1))
    return np.stack(columns, axis=1)


def measure(shape: Shape, algorithms: Sequence[str], settings: Settings, seed: int) -> list[Any]:
    """One row per algorithm; all get the same cluster, apps and trace."""
    rng = random.Random(seed)
    cluster, apps = make_cluster(shape), make_apps(shape, rng)
    domains = {
        name: [i for i, node in enumerate(cluster.nodes) if name in node.sets_of(DOMAIN)]
        for name in cluster.members[DOMAIN]
    }
    down = make_trace(domains, shape.nodes, rng, HOURS)
    rows = []
    for algorithm in algorithms:
        after, seconds = place_all(cluster, apps, algorithm, shape, settings, seed)
        away = unavailable(after, apps, down)
        peaks, worst = away.max(axis=0), away.max(axis=1)
        rows.append(
            {
                "algorithm": algorithm,
                "seed": seed,
                "apps_placed": away.shape[1],
                "median": float(np.median(peaks)),
                "maximum": float(peaks.max()),
                "hour_median": float(np.median(worst)),
                "hour_p99": float(np.quantile(worst, 0.99)),
                "mean": float(away.mean()),
                "seconds": seconds,
                "peaks": sorted(round(float(peak), 4) for peak in peaks),
            }
        )
        print(f"  seed {seed}: {algorithm} in {seconds:.1f} s", flush=True)
    return rows


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the seeds; ``better_*`` is how much lower than `j-kube`'s, seed by seed."""
    base = {row["seed"]: row for row in rows if row["algorithm"] == "j-kube"}
    found = []
    for name in dict.fromkeys(row["algorithm"] for row in rows):
        own = [row for row in rows if row["algorithm"] == name]
        row: dict[str, Any] = {"algorithm": name}
        for key in ("apps_placed", "median", "maximum", "hour_median", "hour_p99", "mean"):
            row[key] = median([one[key] for one in own])
        for key in TARGETS:
            gains = [1 - one[key] / base[one["seed"]][key] for one in own if one["seed"] in base]
            row[f"better_{key}"] = median(gains) if gains else None
        found.append(row)
    return found


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Distribution of the apps' greatest unavailability."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name in dict.fromkeys(row["algorithm"] for row in rows):
        peaks = sorted(p for row in rows if row["algorithm"] == name for p in row["peaks"])
        axes.step(peaks, [(i + 1) / len(peaks) for i in range(len(peaks))], label=name)
    axes.set(xlabel="greatest share of an app's containers away at once", ylabel="share of apps")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(
    shape: Shape, algorithms: Sequence[str], settings: Settings, seeds: Sequence[int], out: Path
) -> list[dict[str, Any]]:
    """Measure, print, write; returns the summary."""
    rows = [row for seed in seeds for row in measure(shape, algorithms, settings, seed)]
    summary = summarise(rows)
    show(f"unavailability over {HOURS} hours, {shape.nodes} nodes, {shape.apps} apps", summary)
    ilp = next((row for row in summary if row["algorithm"] == "ilp"), None)
    met = {
        key: ilp is not None and (ilp[f"better_{key}"] or 0.0) >= least
        for key, least in TARGETS.items()
    }
    settings_used = {"uneven": shape.uneven, "load": shape.load, "zones": shape.zones}
    path = write(
        "availability", rows, out, summary=summary, targets=TARGETS, met=met, **settings_used
    )
    plot(rows, out / "availability.png")
    print(f"written: {path}")
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.medea.availability")
    parser.add_argument("--nodes", type=int, default=400)
    parser.add_argument("--domains", type=int, default=20)
    parser.add_argument("--apps", type=int, default=30)
    parser.add_argument("--load", type=float, default=0.3)
    parser.add_argument("--uneven", type=float, default=0.5, help="0 to 1: loads of domains")
    parser.add_argument("--zones", action="store_true", help="the domains are Kubernetes' zones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--time-limit", type=float, default=5.0, help="seconds per round")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    shape = Shape(
        options.nodes,
        options.domains,
        options.apps,
        load=options.load,
        uneven=options.uneven,
        zones=options.zones,
    )
    settings = Settings(gap=0.01, time_limit=options.time_limit)
    run(shape, options.algorithms, settings, options.seeds, options.out)


if __name__ == "__main__":
    main()
