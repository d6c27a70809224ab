"""Lifecycles are tables: what they do not have changes nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.errors import IllegalTransitionError
from colchis_master.core.lifecycle import (
    CONTAINER,
    HELD,
    NODE,
    ContainerState,
    ContainerStep,
    NodeState,
    NodeStep,
    container_after,
    node_after,
)


@given(st.sampled_from(ContainerState), st.sampled_from(ContainerStep))
def test_a_container_follows_its_table(state: ContainerState, step: ContainerStep) -> None:
    if (state, step) in CONTAINER:
        assert container_after(state, step) is CONTAINER[state, step]
    else:
        with pytest.raises(IllegalTransitionError, match=f"that is {state} cannot take {step}"):
            container_after(state, step)


@given(st.sampled_from(NodeState), st.sampled_from(NodeStep))
def test_a_node_follows_its_table(state: NodeState, step: NodeStep) -> None:
    if (state, step) in NODE:
        assert node_after(state, step) is NODE[state, step]
    else:
        with pytest.raises(IllegalTransitionError, match=f"that is {state} cannot take {step}"):
            node_after(state, step)


@given(st.lists(st.sampled_from(ContainerStep)))
def test_a_container_is_placed_only_from_waiting_and_stops_for_good(
    steps: list[ContainerStep],
) -> None:
    state = ContainerState.PENDING
    for step in steps:
        if (state, step) not in CONTAINER:
            continue
        before, state = state, container_after(state, step)
        if state in HELD and before not in HELD:
            assert before is ContainerState.PENDING
            assert step in (ContainerStep.PLACE, ContainerStep.RETURN)
        if before is ContainerState.STOPPING and state is not before:
            assert state is ContainerState.ENDED
        if before is ContainerState.ENDED:
            assert state is ContainerState.PENDING


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in CONTAINER} == set(ContainerState)
    assert set(CONTAINER.values()) | {ContainerState.PENDING} == set(ContainerState)
    assert {state for state, _ in NODE} == set(NodeState)
    assert set(NODE.values()) | {NodeState.UNKNOWN} == set(NodeState)
