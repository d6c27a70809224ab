"""The baselines that place as Kubernetes does."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from colchis.model.cluster import Cluster, Container, Node
from colchis.model.resources import Resources
from colchis_master.lra import Settings, schedule
from tests.unit.lra.lra_cases import app, solve

BOTH = pytest.mark.parametrize("algorithm", ["j-kube", "j-kube++"])


def node(name: str, zone: str = "", cpus: int = 8) -> Node:
    groups = {"zone": (zone,)} if zone else {}
    return Node(name, Resources.of(cpus, f"{cpus}GiB"), groups)


def filled(cluster: Cluster, on: dict[str, int]) -> Cluster:
    """So many cores of each node are used by others."""
    containers = tuple(
        Container.of(f"other/{name}/{i}", {"other"}, Resources.of(1, "1GiB"))
        for name, count in on.items()
        for i in range(count)
    )
    homes = {c.id: c.id.group for c in containers}
    return replace(cluster, containers=containers, placed=homes)


@BOTH
def test_members_are_spread_over_hosts_even_where_one_has_most_room(algorithm: str) -> None:
    cluster = filled(
        Cluster((node("big"), node("n1"), node("n2"), node("n3"))), {"n1": 4, "n2": 4, "n3": 4}
    )
    plan = solve(cluster, app("web", {"g": (4, {"web"})}), algorithm=algorithm)
    assert set(plan.apps[0].assignments.values()) == {"big", "n1", "n2", "n3"}


@BOTH
def test_members_are_spread_over_zones_and_those_that_run_count(algorithm: str) -> None:
    cluster = Cluster((node("a1", "a"), node("a2", "a"), node("a3", "a"), node("b1", "b")))
    web = app("web", {"g": (2, {"web"})})
    first, second = web.containers()
    cluster = replace(cluster, containers=(first,), placed={first.id: "a1"})
    plan = solve(cluster, web, algorithm=algorithm)
    assert plan.apps[0].assignments == {second.id: "b1"}


@BOTH
def test_nodes_in_no_zone_are_used_as_well(algorithm: str) -> None:
    cluster = Cluster((node("a1", "a"), node("n1"), node("n2")))
    plan = solve(cluster, app("web", {"g": (3, {"web"})}), algorithm=algorithm)
    assert {"n1", "n2"} <= set(plan.apps[0].assignments.values())


def test_of_equally_good_nodes_any_may_be_taken() -> None:
    cluster = Cluster(tuple(node(f"n{i}") for i in range(4)))
    taken = Counter(
        next(
            iter(
                schedule(
                    cluster,
                    [app("web", {"g": (1, {"web"})})],
                    algorithm="j-kube",
                    settings=Settings(),
                    clock=lambda: 0.0,
                    rng=random.Random(seed),
                )
                .apps[0]
                .assignments.values()
            )
        )
        for seed in range(50)
    )
    assert len(taken) == 4


def test_cardinality_is_understood_by_one_of_them_only() -> None:
    """Four may be in a zone; Kubernetes' spreading would put the fifth where most room is."""
    nodes = (node("a1", "a", 64), node("a2", "a", 64), node("b1", "b", 64))
    cluster = filled(Cluster(nodes), {"b1": 60})
    web = app("web", {"g": (6, {"web"})}, "{web, {web, 0, 2}, zone}")
    missed = {
        name: solve(cluster, web, algorithm=name).totals.violating
        for name in ("j-kube", "j-kube++")
    }
    assert missed["j-kube++"] == 0 < missed["j-kube"]
