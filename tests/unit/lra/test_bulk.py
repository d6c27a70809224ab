"""The vectorised large-scale path against the reference checker."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.cluster import Cluster, Container, Node
from colchis.model.resources import Resources
from colchis.semantics.checker import judge
from colchis_master.lra.bulk import (
    Bulk,
    Limit,
    alignment,
    emptiest,
    first,
    least_nodes,
    pack,
)
from tests.unit.lra.lra_cases import rule


@st.composite
def bulks(draw: st.DrawFn) -> tuple[Bulk, list[Limit]]:
    apps = draw(st.integers(1, 5))
    numbers = st.integers(1, 4)
    needs = np.array([[draw(numbers), draw(numbers)] for _ in range(apps)])
    counts = np.array([draw(st.integers(0, 4)) for _ in range(apps)])
    capacity = np.array([[draw(st.integers(2, 8)) for _ in "ab"] for _ in range(5)])
    limits = [
        Limit(draw(st.integers(0, apps - 1)), draw(st.integers(0, apps - 1)), most)
        for most in draw(st.lists(st.integers(0, 2), max_size=6))
    ]
    return Bulk(capacity, needs, counts, limits), limits


def misses(bulk: Bulk, limits: list[Limit]) -> list[object]:
    """The same placement in the constraint language."""
    nodes = tuple(
        Node(f"n{i}", Resources.of(int(c), f"{int(m)}GiB"))
        for i, (c, m) in enumerate(bulk.capacity)
    )
    containers, placed = [], {}
    for app, held in enumerate(bulk.on):
        number = 0
        for node, count in held.items():
            for _ in range(count):
                needs = Resources.of(int(bulk.needs[app][0]), f"{int(bulk.needs[app][1])}GiB")
                container = Container.of(f"a{app}/g/{number}", {f"a{app}"}, needs)
                number += 1
                containers.append(container)
                placed[container.id] = f"n{node}"
    rules = tuple(rule(f"{{a{x.app}, {{a{x.of}, 0, {x.most}}}, node}}") for x in limits)
    cluster = Cluster(nodes, tuple(containers), placed, rules)
    overfilled = [n for n, free in cluster.free.items() if any(v < 0 for _, v in free.amounts)]
    return [*judge(cluster).violations, *overfilled]


@given(case=bulks(), score=st.sampled_from((alignment, emptiest, first)), opened=st.integers(0, 5))
@settings(max_examples=80)
def test_nothing_is_missed_or_overfilled(
    case: tuple[Bulk, list[Limit]], score: object, opened: int
) -> None:
    bulk, limits = case
    left = bulk.fill(bulk.hot_first(), opened, score)  # type: ignore[arg-type] # one of three
    assert misses(bulk, limits) == []
    assert bulk.placed + left == bulk.counts.sum()


@given(case=bulks(), data=st.data())
@settings(max_examples=80)
def test_each_move_of_a_repair_leaves_the_rest_no_worse(
    case: tuple[Bulk, list[Limit]], data: st.DataObject
) -> None:
    bulk, limits = case
    for app, count in enumerate(bulk.counts.tolist()):
        for _ in range(count):
            bulk.add(app, data.draw(st.integers(0, 4)))
    replay = Bulk(bulk.capacity, bulk.needs, bulk.counts, limits)
    for app, held in enumerate(bulk.on):
        for node, count in held.items():
            replay.add(app, node, count)
    moves, stuck = bulk.repair()
    before = len(misses(replay, limits))
    for move in moves:
        replay.add(move.app, move.target)
        assert (replay.free[move.target] >= 0).all()
        replay.add(move.app, move.source, -1)
        after = len(misses(replay, limits))
        assert after <= before
        before = after
    if not stuck:
        assert misses(bulk, limits) == []


def test_packing_reaches_the_bound_where_it_can() -> None:
    capacity = np.tile(np.array([[4, 4]]), (10, 1))
    needs, counts = np.array([[2, 2], [1, 1]]), np.array([6, 8])
    ticks = iter(range(1000))
    bulk, history = pack(
        capacity, needs, counts, [], clock=lambda: float(next(ticks)), seconds=50.0
    )
    assert bulk.used() == least_nodes(capacity, needs, counts) == 5
    assert history[-1][1] == 5
