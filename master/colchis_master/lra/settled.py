"""What is missed already and stays so wherever a round's containers go.

It is the same for all placements, and so of no account, but where it is divided by something that
they change: the m of the weighted sum.
"""

from colchis_master.lra.extents import node_extents
from colchis_master.lra.families import Family, Ints
from colchis_master.lra.problem import Problem


def settled_extent(problem: Problem) -> float:
    """Weighted extents of the running containers' families that no new container bears on."""
    total = 0.0
    for family in problem.families:
        if not family.weight or problem.is_live(family):
            continue
        subjects = problem.running_per_node(family.kinds)
        if subjects.any():
            extents = node_extents(problem, family, _counts(problem, family), placed=True)
            total += family.weight * float(subjects @ extents)
    return total


def _counts(problem: Problem, family: Family) -> dict[int, Ints]:
    found = {}
    for number in family.counters:
        counter = problem.counters[number]
        per_node = problem.running_per_node(counter.kinds)
        found[number] = problem.set_groups[counter.group].per_set(per_node)
    return found
