"""``python -m benchmarks.medea.violations``: who misses how many rules.

1 to 10 apps of ten containers, with rules within each and towards every other, on clusters loaded
from 10 to 90 %. The share is that of placed containers of the round that miss at least one rule;
``proven_least`` counts the rounds in which it is known that no plan misses less.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.placement.clusters import Shape, make_cluster, rule
from benchmarks.report import median, show, write
from colchis.model.app import AppSpec, GroupSpec
from colchis.model.resources import Resources
from colchis_master.lra import ALGORITHMS, Settings, schedule


def interacting(count: int, containers: int, rng: random.Random) -> list[AppSpec]:
    """Apps each of which avoids some of the others, keeps near one, and spreads itself."""
    apps = []
    for number in range(count):
        name = f"app{number}"
        mine = f"t{number}"
        others = [f"t{i}" for i in range(count) if i != number]
        texts = [
            f"{{{mine}, {{self/{mine}, 0, {rng.choice((0, 1, 2))}}}, node}}",
            f"{{{mine}, {{self/{mine}, 0, {max(2, containers // 3)}}}, upgrade_domain}}",
        ]
        texts += [f"{{{mine}, {{{other}, 0, {rng.choice((1, 2, 4))}}}, node}}" for other in others]
        if others:
            near = others[number % len(others)]
            texts.append(f"{{{mine}, {{{near}, 1, inf}}, rack}}")
        size = rng.choice((Resources.of(1, "2GiB"), Resources.of(2, "4GiB")))
        group = GroupSpec("g", containers, size, frozenset({mine}))
        apps.append(AppSpec(name, (group,), rules=tuple(rule(text, name) for text in texts)))
    return apps


def share(plan: Any) -> float:
    """Of the round's placed containers, those that miss a rule, in percent."""
    placed = {c for app in plan.apps for c in app.assignments}
    missing = {v.container for v in plan.violations if v.container in placed}
    return 100.0 * len(missing) / len(placed) if placed else 0.0


def none_missed(plan: Any) -> bool:
    """Whether everything is placed and no rule missed, which no plan can better."""
    return all(app.placed for app in plan.apps) and not plan.violations


def measure(
    nodes: int, load: float, count: int, seeds: int, settings: Settings
) -> list[dict[str, Any]]:
    shares: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
    placed: dict[str, int] = dict.fromkeys(ALGORITHMS, 0)
    proven = 0
    for seed in range(seeds):
        rng = random.Random(seed)
        cluster = make_cluster(Shape(nodes, load), rng)
        apps = interacting(count, 10, rng)
        for name in ALGORITHMS:
            plan = schedule(
                cluster,
                apps,
                algorithm=name,
                settings=settings,
                clock=time.monotonic,
                rng=random.Random(seed),
            )
            shares[name].append(share(plan))
            placed[name] += sum(app.placed for app in plan.apps)
            if name == "ilp":
                proven += plan.optimal or none_missed(plan)
    return [
        {
            "load": load,
            "apps": count,
            "algorithm": name,
            "violating_%": median(shares[name]),
            "worst_%": max(shares[name]),
            "apps_placed": placed[name] / seeds,
            "proven_least": proven if name == "ilp" else None,
            "rounds": seeds,
        }
        for name in ALGORITHMS
    ]


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    top = max(row["apps"] for row in rows)
    half = sorted({row["load"] for row in rows})[len({row["load"] for row in rows}) // 2]
    for name in ALGORITHMS:
        by_load = [r for r in rows if r["algorithm"] == name and r["apps"] == top]
        by_apps = [r for r in rows if r["algorithm"] == name and r["load"] == half]
        left.plot(
            [100 * r["load"] for r in by_load],
            [r["violating_%"] for r in by_load],
            marker="o",
            label=name,
        )
        right.plot([r["apps"] for r in by_apps], [r["violating_%"] for r in by_apps], marker="o")
    left.set(xlabel=f"cluster load, % ({top} apps)", ylabel="containers that miss a rule, %")
    right.set(xlabel=f"interacting apps (load {half:.0%})")
    left.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.medea.violations", description=__doc__
    )
    parser.add_argument("--nodes", type=int, default=400)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 0.9])
    parser.add_argument("--apps", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    settings = Settings(time_limit=options.time_limit, gap=0.01)
    rows = []
    for load in options.loads:
        for count in options.apps:
            rows += measure(options.nodes, load, count, options.seeds, settings)
    show(f"Containers that miss a rule, {options.nodes} nodes", rows)
    print("written:", write("violations", rows, options.out, nodes=options.nodes))
    plot(rows, options.out / "violations.png")


if __name__ == "__main__":
    main()
