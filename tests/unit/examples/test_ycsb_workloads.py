"""The generators behind the YCSB mixes."""

import argparse
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ycsb import parse_arguments, percentile
from ycsb_workloads import (
    MIXES,
    ZIPFIAN_CONSTANT,
    Chooser,
    RecordNumbers,
    Zipfian,
    fnv1a_64,
    record_fields,
    record_key,
)

DRAWS = 50_000


def test_zipfian_frequencies_follow_the_law() -> None:
    items = 100
    rng = random.Random(7)
    zipfian = Zipfian(items)
    counts = Counter(zipfian.draw(rng) for _ in range(DRAWS))
    zeta = sum(1 / rank**ZIPFIAN_CONSTANT for rank in range(1, items + 1))
    assert counts[0] / DRAWS == pytest.approx(1 / zeta, rel=0.05)
    assert counts[1] / DRAWS == pytest.approx(0.5**ZIPFIAN_CONSTANT / zeta, rel=0.05)
    upper_half = sum(counts[rank] for rank in range(50, 100)) / DRAWS
    expected = sum(1 / rank**ZIPFIAN_CONSTANT for rank in range(51, 101)) / zeta
    assert upper_half == pytest.approx(expected, rel=0.15)


@given(items=st.integers(1, 300), grown=st.integers(0, 300), seed=st.integers(0, 1000))
def test_zipfian_stays_within_its_items_also_when_they_grow(
    items: int, grown: int, seed: int
) -> None:
    rng = random.Random(seed)
    zipfian = Zipfian(items)
    assert 0 <= zipfian.draw(rng) < items
    assert all(0 <= zipfian.draw(rng, items + grown) < items + grown for _ in range(20))


def test_a_grown_zipfian_draws_as_one_made_for_as_many_items() -> None:
    grown = Zipfian(10)
    grown.draw(random.Random(0), 500)
    fresh = Zipfian(500)
    a, b = random.Random(3), random.Random(3)
    assert [grown.draw(a) for _ in range(200)] == [fresh.draw(b) for _ in range(200)]


def test_latest_prefers_the_newest_finished_records() -> None:
    numbers = RecordNumbers(100)
    chooser = Chooser("latest", numbers)
    rng = random.Random(1)
    first, second = numbers.take(), numbers.take()
    numbers.done(second)
    assert numbers.count == 100
    numbers.done(first)
    assert numbers.count == 102
    counts = Counter(chooser.draw(rng) for _ in range(5000))
    assert counts.most_common(1)[0][0] == 101
    assert min(counts) >= 0 and max(counts) == 101


def test_popular_records_are_scattered() -> None:
    chooser = Chooser("zipfian", RecordNumbers(1000))
    rng = random.Random(1)
    counts = Counter(chooser.draw(rng) for _ in range(5000))
    assert counts.most_common(1)[0][0] == fnv1a_64(0) % 1000
    assert min(counts) >= 0 and max(counts) < 1000


@pytest.mark.parametrize("name", MIXES)
def test_mixes_draw_operations_in_their_shares(name: str) -> None:
    rng = random.Random(5)
    mix = MIXES[name]
    counts = Counter(mix.draw(rng) for _ in range(20_000))
    assert set(counts) == set(mix.shares)
    for kind, share in mix.shares.items():
        assert counts[kind] / 20_000 == pytest.approx(share, abs=0.02)


def test_records_have_distinct_keys_and_ten_fields_of_a_hundred_characters() -> None:
    assert len({record_key(number) for number in range(10_000)}) == 10_000
    fields = record_fields(random.Random(0))
    assert [len(value) for value in fields.values()] == [100] * 10


def test_fnv_is_the_published_function() -> None:
    # FNV-1a of eight zero bytes, from the authors' reference implementation's definition.
    digest = 0xCBF29CE484222325
    for _ in range(8):
        digest = digest * 0x100000001B3 % 2**64
    assert fnv1a_64(0) == digest


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5.0), (0.95, 10.0), (0.1, 1.0), (0.11, 2.0)])
def test_percentiles_are_nearest_ranks(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(1, 11)], share) == expected


@pytest.mark.parametrize(
    "arguments", [["--workloads", "AX"], ["--records", "0"], ["--threads", "x"]]
)
def test_bad_arguments_end_with_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--api", "http://localhost:1", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
    assert isinstance(parse_arguments(["--api", "x", "--workloads", "a,f"]), argparse.Namespace)
