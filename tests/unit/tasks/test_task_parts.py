"""Pressure, rankings, the table of states, options and the story's limits."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.errors import IllegalTransitionError, InputError
from colchis_master.tasks.lifecycle import (
    ENDED,
    HOLDS_MEMORY_ONLY,
    HOLDS_SLOT,
    TRANSITIONS,
    Step,
    TaskState,
    after,
)
from colchis_master.tasks.options import Options
from colchis_master.tasks.pressure import Pressure, Window
from colchis_master.tasks.ranking import Ranking
from colchis_master.tasks.story import Entry, Story


def test_70_then_90_percent_memory_is_mean_80_deviation_10() -> None:
    window = Window(10)
    window.add(0, 70)
    window.add(1, 90)
    assert (window.mean, window.deviation) == (80, 10)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=9))
def test_the_deviation_is_the_true_one(values: list[float]) -> None:
    window = Window(100)
    for at, value in enumerate(values):
        window.add(at, value)
    mean = sum(values) / len(values)
    expected = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    assert window.mean == pytest.approx(mean, abs=1e-6)
    assert window.deviation == pytest.approx(expected, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -1.0])
def test_missing_and_senseless_samples_are_left_out(value: float | None) -> None:
    window = Window(10)
    window.add(0, 4)
    window.add(1, value)
    assert (window.mean, window.deviation) == (4, 0)


def test_old_samples_leave_the_window() -> None:
    window = Window(10)
    window.add(0, 100)
    window.add(5, 10)
    window.add(12, 20)
    assert window.mean == 15


def test_pressure_compares_spilled_then_memory_then_gc() -> None:
    def of(spilled: float, memory: float, gc: float) -> tuple[int, ...]:
        pressure = Pressure(10)
        pressure.add(0, spilled, memory, gc)
        return pressure.bucketed

    assert of(1e6, 0.9, 0.9) < of(5e6, 0.1, 0.1)
    assert of(0, 0.5, 0.9) < of(0, 0.6, 0.1)
    assert of(0, 0.5, 0.1) < of(0, 0.5, 0.2)
    assert of(0, 0.501, 0.1) == of(0, 0.509, 0.1)
    assert of(1000, 0.5, 0.1) == of(0, 0.5, 0.1)


def test_pressure_says_whether_it_changed() -> None:
    pressure = Pressure(10)
    assert not pressure.add(0, 0.0, 0.0, 0.0)
    assert not pressure.add(1, None, None, None)
    assert pressure.add(2, 0.0, 0.9, 0.0)
    assert "memory 45%" in str(pressure)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5) | st.none())))
def test_a_ranking_is_a_sorted_list_by_key_then_age(
    changes: list[tuple[int, int | None]],
) -> None:
    ranking: Ranking[int] = Ranking()
    plain: dict[int, int] = {}
    for item, key in changes:
        if key is None:
            ranking.discard(item)
            plain.pop(item, None)
        else:
            ranking.put(item, (key,))
            plain[item] = key
    expected = sorted(plain, key=lambda item: plain[item])
    assert list(ranking) == expected
    assert ranking.first() == (expected[0] if expected else None)
    assert [item for _, item in ranking.ranked()] == expected
    assert len(ranking) == len(plain)
    assert all((item in ranking) == (item in plain) for item in range(10))


def test_every_state_is_of_one_kind_and_ends_lead_nowhere() -> None:
    kinds = [HOLDS_SLOT, HOLDS_MEMORY_ONLY, ENDED, frozenset({TaskState.PENDING, TaskState.RIDING})]
    assert sorted(state for kind in kinds for state in kind) == sorted(TaskState)
    assert not ENDED & {state for state, _ in TRANSITIONS}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {TaskState.PENDING} | set(TRANSITIONS.values())
    assert reached == set(TaskState)
    assert {state for state, _ in TRANSITIONS} == set(TaskState) - ENDED


@pytest.mark.parametrize("state", sorted(TaskState))
@pytest.mark.parametrize("step", sorted(Step))
def test_what_the_table_does_not_have_raises(state: TaskState, step: Step) -> None:
    if (state, step) in TRANSITIONS:
        assert after(state, step) is TRANSITIONS[state, step]
    else:
        with pytest.raises(IllegalTransitionError, match=f"{state} cannot {step}"):
            after(state, step)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_suspensions", 0),
        ("protect", -1),
        ("protect_per_wait", -1),
        ("max_suspended_memory", -1),
        ("max_wait", 0),
        ("nearly_done", 0),
        ("finish_within", -1),
        ("restart_after", -1),
        ("restart_below", 2),
        ("static_share", 1),
        ("window", 0),
    ],
)
def test_options_without_sense_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"options\.{field}: must be "):
        Options(**{field: value})


def test_the_story_forgets_the_oldest() -> None:
    story = Story(tasks=2, entries=3, latest=2)
    for number in range(5):
        story.tell("a", Entry(number, "cause", "what", str(number)))
    assert [entry.reason for entry in story.of("a")] == ["2", "3", "4"]
    story.tell("b", Entry(5, "cause", "what", ""))
    story.tell("a", Entry(6, "cause", "what", ""))
    story.tell("c", Entry(7, "cause", "what", "", "e0"))
    assert story.of("b") == ()
    assert len(story.of("a")) == 3
    assert [(task, entry.at) for task, entry in story.latest] == [("a", 6), ("c", 7)]
