"""What stages apply to their records."""

import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from colchis.jobs import functions as op

keys = st.one_of(
    st.integers(), st.text(), st.booleans(), st.floats(allow_nan=False), st.binary(), st.none()
)


@given(records=st.lists(st.tuples(keys, st.integers())), buckets=st.integers(1, 5))
def test_split_and_group_bring_equal_keys_together(
    records: list[tuple[Any, int]], buckets: int
) -> None:
    parts = op.Split(lambda r: r[0], lambda r: r[1], buckets)(iter(records))
    assert len(parts) == buckets
    grouped = [pair for part in parts for pair in op.Group()(iter(part))]
    expected: dict[Any, list[int]] = {}
    for key, value in records:
        expected.setdefault(key, []).append(value)
    assert len(grouped) == len(expected)
    assert dict(grouped) == expected


@given(st.lists(st.integers()), st.lists(st.integers()), st.integers())
def test_reduction_in_parts_is_the_reduction_of_the_whole(
    left: list[int], right: list[int], initial: int
) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    partial = op.Partial(add)
    parts = partial(iter(left)) + partial(iter(right))
    assert op.Total(add, (initial,))(iter(parts)) == initial + sum(left) + sum(right)


def test_chain_pulls_one_record_at_a_time() -> None:
    seen: list[int] = []

    def note(record: int) -> int:
        seen.append(record)
        return record

    chain = op.Chain((op.Map(note), op.FlatMap(lambda r: [r, r]), op.Filter(bool)))
    result = chain(iter([0, 1, 2]))
    assert seen == []
    assert next(result) == 1 and seen == [0, 1]
    assert list(result) == [1, 2, 2]


def test_hash_is_the_same_in_every_process() -> None:
    program = (
        "from colchis.jobs.functions import stable_hash as h;"
        "print([h(k) for k in ('a', b'a', 1, (1, 'a'), None, frozenset('ab'))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert op.stable_hash(1) == op.stable_hash(1.0) == op.stable_hash(True)
