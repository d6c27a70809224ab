"""Half-full clusters of uneven nodes, and rounds of apps with rules within and across them."""

import random
from dataclasses import dataclass

from colchis.model.app import AppSpec, GroupSpec
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources

SIZES = ((8, 16), (16, 32), (16, 64), (32, 64), (32, 128))
"""Cores and GiB of the kinds of node."""
RACK = 40
DOMAINS = 10


@dataclass(frozen=True, slots=True)
class Shape:
    """How hard a round is: ``load`` is the share of cpus in use beforehand."""

    nodes: int
    load: float = 0.5
    apps: int = 10
    containers: int = 10


def rule(text: str, app: str | None, name: str = "", weight: float = 1.0) -> Rule:
    return Rule(parse_constraint(text), name, app, weight)


def make_cluster(shape: Shape, rng: random.Random) -> Cluster:
    """Nodes in racks of 40 and ten upgrade domains, with running apps and their rules."""
    nodes = []
    for i in range(shape.nodes):
        cpus, memory = rng.choice(SIZES)
        nodes.append(
            Node(
                f"n{i:05}",
                Resources.of(cpus, f"{memory}GiB"),
                {"rack": (f"r{i // RACK}",), "upgrade_domain": (f"u{i % DOMAINS}",)},
            )
        )
    containers: list[Container] = []
    placed: dict[ContainerId, str] = {}
    apps = max(4, shape.nodes // 25)
    sizes = [Resources.of(c, f"{m}GiB") for c, m in ((0.5, 1), (1, 2), (2, 4), (2, 8), (4, 8))]
    tags = [("web",), ("cache", "mem"), ("db",), ("batch",), ("hb", "hb-rs"), ("stream",)]
    counters = [0] * apps
    for node in nodes:
        aim = shape.load * rng.uniform(0.3, 1.7)
        used = Resources()
        while used.cpus < aim * node.capacity.cpus:
            size = rng.choice(sizes)
            if not (used + size).fits_in(node.capacity):
                break
            used = used + size
            app = rng.randrange(apps)
            container = Container.of(
                f"old{app}/g/{counters[app]}", set(tags[app % len(tags)]), size
            )
            counters[app] += 1
            containers.append(container)
            placed[container.id] = node.name
    rules: list[Rule] = []
    for app in range(0, apps, 4):
        own = tags[app % len(tags)][0]
        rules.append(rule(f"{{{own}, {{noisy, 0, 0}}, node}}", f"old{app}"))
    rules.append(rule("{noisy, {noisy, 0, 2}, node}", None, "few-noisy"))
    return Cluster(tuple(nodes), tuple(containers), placed, tuple(rules))


def make_round(shape: Shape, rng: random.Random) -> list[AppSpec]:
    """Apps of four sorts in turn, each with rules within itself and towards others."""
    apps = []
    for number in range(shape.apps):
        name = f"app{number}"
        other = f"app{(number + 1) % shape.apps}"
        n = shape.containers
        match number % 4:
            case 0:
                groups = {
                    "master": (1, {"hb", "hb-m"}, (1, 2)),
                    "region": (n - 1, {"hb", "hb-rs"}, (2, 4)),
                }
                rules = [
                    "{hb-rs, {self/hb-rs, 0, 0}, node}",
                    "{hb-rs, {self/hb-rs, 0, 3}, rack}",
                    "{hb-m, {self/hb-rs, 1, inf}, rack}",
                    f"{{hb-rs, {{app/{other}/worker, 0, 0}}, node}}",
                ]
            case 1:
                groups = {
                    "ps": (2, {"tf", "ps"}, (2, 8)),
                    "worker": (n - 2, {"tf", "worker", "noisy"}, (4, 8)),
                }
                rules = [
                    "{worker, {self/worker, 0, 3}, node}",
                    "{worker, {self/ps, 1, inf}, rack}",
                    "{ps, {self/ps, 0, 0}, node}",
                    "{worker, {hb-rs, 0, 0}, node}",
                ]
            case 2:
                groups = {"web": (n, {"web", "front"}, (1, 2))}
                rules = [
                    "{front, {self/front, 0, 0}, node}",
                    f"{{front, {{self/front, 0, {max(1, n // 5)}}}, upgrade_domain}}",
                    "{front, {noisy, 0, 0}, node}",
                ]
            case _:
                groups = {
                    "storm": (n // 2, {"storm"}, (2, 4)),
                    "cache": (n - n // 2, {"memcached", "mem"}, (1, 8)),
                }
                rules = [
                    "{storm, {self/memcached, 1, inf}, node}",
                    "{memcached, {others/memcached, 0, 0}, node}",
                    "{storm, {self/storm, 1, 4}, rack} | {storm, {self/memcached, 2, inf}, rack}",
                ]
        specs = tuple(
            GroupSpec(group, count, Resources.of(cpus, f"{memory}GiB"), frozenset(tags))
            for group, (count, tags, (cpus, memory)) in groups.items()
        )
        apps.append(AppSpec(name, specs, rules=tuple(rule(text, name) for text in rules)))
    rng.shuffle(apps)
    return apps
