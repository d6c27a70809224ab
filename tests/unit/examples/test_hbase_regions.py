"""How regions are cut, given out and moved."""

import pytest
from hb_regions import KEY_SPACE, format_key, plan_steps, settle, split_keyspace
from hypothesis import given
from hypothesis import strategies as st

REGIONS = 7
keys = st.one_of(st.text(max_size=24), st.integers(0, KEY_SPACE - 1).map(format_key))
servers = st.sampled_from(["s0", "s1", "s2", "s3"])
held = st.dictionaries(servers, st.sets(st.integers(0, REGIONS - 1)))


@given(count=st.integers(1, 40), key=keys)
def test_every_key_lies_in_exactly_one_region(count: int, key: str) -> None:
    assert sum(region.holds(key) for region in split_keyspace(count)) == 1


def test_regions_follow_each_other_and_are_equally_wide() -> None:
    regions = split_keyspace(4)
    assert [r.start for r in regions] == ["", *(format_key(i << 62) for i in (1, 2, 3))]
    assert [r.end for r in regions] == [*(r.start for r in regions[1:]), None]


def test_no_regions_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        split_keyspace(0)


@given(reports=held, owners=st.dictionaries(st.integers(0, REGIONS - 1), servers))
def test_steps_lead_to_each_region_served_once_and_even_load(
    reports: dict[str, set[int]], owners: dict[int, str]
) -> None:
    settled = settle(REGIONS, owners, reports, silent=frozenset())
    after = {name: set(regions) for name, regions in reports.items()}
    for step in plan_steps(REGIONS, settled, reports):
        if step.kind == "close":
            after[step.target].remove(step.region)
            continue
        if step.source is not None:
            after[step.source].remove(step.region)
        assert not any(step.region in regions for regions in after.values())
        after[step.target].add(step.region)
    if after:
        assert sorted(r for regions in after.values() for r in regions) == list(range(REGIONS))
        sizes = [len(regions) for regions in after.values()]
        assert max(sizes) - min(sizes) <= 1


def test_a_silent_server_keeps_its_regions_and_is_left_alone() -> None:
    owners = {0: "frozen", 1: "frozen", 2: "awake", 3: "awake"}
    reports = {"awake": {2, 3}, "new": set[int]()}
    settled = settle(4, owners, reports, silent={"frozen"})
    assert settled == owners
    steps = plan_steps(4, settled, reports)
    assert [(s.kind, s.region, s.source, s.target) for s in steps] == [("move", 3, "awake", "new")]


def test_a_server_that_is_gone_loses_its_regions() -> None:
    settled = settle(2, {0: "gone", 1: "here"}, {"here": {1}}, silent=frozenset())
    assert settled == {1: "here"}
    assert [(s.kind, s.region) for s in plan_steps(2, settled, {"here": {1}})] == [("open", 0)]


def test_a_server_that_restarted_empty_is_given_regions_anew() -> None:
    settled = settle(1, {0: "s"}, {"s": set()}, silent=frozenset())
    assert settled == {}
    assert [(s.kind, s.target) for s in plan_steps(1, settled, {"s": set()})] == [("open", "s")]


def test_a_region_held_twice_is_closed_where_it_is_not_owned() -> None:
    reports = {"a": {0}, "b": {0}}
    settled = settle(1, {0: "b"}, reports, silent=frozenset())
    assert [(s.kind, s.target) for s in plan_steps(1, settled, reports)] == [("close", "a")]
