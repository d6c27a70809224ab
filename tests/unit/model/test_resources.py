"""Amounts: exact, with units, compared as vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.model.cluster import ContainerId
from colchis.model.resources import (
    Resources,
    approximate_memory,
    format_memory,
    parse_cpus,
    parse_memory,
)
from tests.unit.model.model_strategies import resources


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GiB", 2 * 2**30),
        ("512MiB", 512 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("0.5 KiB", 512),
        ("1T", 2**40),
        ("7", 7),
        (7, 7),
        ("3b", 3),
    ],
)
def test_memory_with_units(text: object, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize("wrong", ["", "GiB", "2 Gig", "-1MiB", "1e3", True, None, [1], -1, "inf"])
def test_no_amount_of_memory(wrong: object) -> None:
    with pytest.raises(ValueError, match="such as 512MiB"):
        parse_memory(wrong)


@given(st.integers(0, 2**60))
def test_memory_is_written_exactly(amount: int) -> None:
    assert parse_memory(format_memory(amount)) == amount


def test_memory_for_people() -> None:
    assert approximate_memory(1536 * 2**20) == "1.5 GiB"
    assert approximate_memory(12) == "12 B"


@pytest.mark.parametrize(("value", "amount"), [(0.1, 100), (2, 2000), ("0.001", 1), (0, 0)])
def test_cpus_are_thousandths(value: object, amount: int) -> None:
    assert parse_cpus(value) == amount


@pytest.mark.parametrize("wrong", [-1, "two", True, None, float("nan"), float("inf"), 0.0001])
def test_no_number_of_cores(wrong: object) -> None:
    with pytest.raises(ValueError, match="cores"):
        parse_cpus(wrong)


@given(resources, resources)
def test_what_is_added_can_be_taken_away(one: Resources, other: Resources) -> None:
    assert one + other - other == one
    assert one.fits_in(one + other)
    assert one * 2 == one + one


def test_shortages_name_every_resource_that_lacks() -> None:
    need = Resources.of(2, "2GiB", gpus=1)
    free = Resources.of(1, "1GiB")
    assert not need.fits_in(free)
    assert need.shortages(free) == (
        "needs 2 cpus, 1 cpus free",
        "needs 1 gpus, 0 gpus free",
        "needs 2GiB memory, 1GiB memory free",
    )


def test_containers_are_named_by_app_group_and_index() -> None:
    ident = ContainerId.parse("web/front/12")
    assert (str(ident), ident.index) == ("web/front/12", 12)
    assert ident.tags() == {"app:web", "group:front"}


@pytest.mark.parametrize(
    "wrong", ["web", "web/front", "web/front/x", "web//1", "a/b/-1", "a/1/2/3"]
)
def test_no_container(wrong: str) -> None:
    with pytest.raises(ValueError, match="app/group/index"):
        ContainerId.parse(wrong)
