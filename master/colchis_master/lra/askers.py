"""Whose rules a family is: rules that ask the same are one, but each is told of by its own name."""

from collections.abc import Mapping

from colchis.model.constraints import Rule
from colchis_master.lra.families import Family, Floats
from colchis_master.lra.problem import Problem
from colchis_master.lra.state import State


def by_subject(problem: Problem, family: Family) -> Mapping[tuple[frozenset[str], str], Rule]:
    """The rule that has containers with these tags, of this app, as subjects."""
    return {problem.kinds[kind]: problem.rules[asker] for kind, asker in family.askers.items()}


def by_label(problem: Problem, family: Family) -> dict[str, set[int]]:
    """The names of the rules, and the kinds of containers that each has as subjects."""
    found: dict[str, set[int]] = {}
    for kind, asker in sorted(family.askers.items(), key=lambda one: one[1]):
        found.setdefault(problem.rules[asker].label, set()).add(kind)
    return found


def inflicted(
    state: State, number: int, family: Family, bumped: frozenset[int]
) -> list[tuple[str, Floats]]:
    """As ``State.inflicted``, for the rules of each name."""
    labels = by_label(state.problem, family)
    if len(labels) == 1:
        return [(label, state.inflicted(number, family, bumped)) for label in labels]
    found = []
    for label, kinds in labels.items():
        subjects = state.problem.running_per_node(kinds)
        for (group, node), times in state.assigned.items():
            if state.problem.groups[group].kind in kinds:
                subjects[node] += times
        found.append((label, state.change(subjects, family, bumped)))
    return found
