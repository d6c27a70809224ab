"""From assignments to a Plan: the violations, totals and objective that every algorithm reports.

Extents are computed for all containers of a family at once; tests hold them equal to the
reference checker's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, Container, ContainerId
from colchis.model.plan import AppPlan, Plan, Totals, Violation
from colchis_master.lra.extents import set_extents
from colchis_master.lra.greedy import node_loads
from colchis_master.lra.problem import Family, Floats, Ints, Problem
from colchis_master.lra.settings import Settings

Assignments = Mapping[ContainerId, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A placement judged: the parts of the objective, and the whole of it."""

    violations: tuple[Violation, ...]
    totals: Totals
    weighted: float
    instances: int
    objective: float


def evaluate(
    cluster: Cluster,
    apps: Sequence[AppSpec],
    assignments: Assignments,
    *,
    algorithm: str,
    settings: Settings,
    reasons: Mapping[str, tuple[str, ...]] | None = None,
    never: frozenset[str] = frozenset(),
) -> Plan:
    """The plan that consists of these assignments. An app with any of its containers missing
    counts as not placed, and must have none of them."""
    problem = Problem(cluster, apps, settings.keep_free)
    return to_plan(problem, assignments, algorithm, settings, reasons or {}, never)


def to_plan(
    problem: Problem,
    assignments: Assignments,
    algorithm: str,
    settings: Settings,
    reasons: Mapping[str, tuple[str, ...]],
    never: frozenset[str] = frozenset(),
) -> Plan:
    """As ``evaluate``, for a round that is compiled already."""
    plans = []
    for app, own in zip(problem.apps, problem.groups_of, strict=True):
        wanted = [
            ContainerId(app.name, problem.groups[g].spec.name, i)
            for g in own
            for i in problem.groups[g].indices
        ]
        placed = all(ident in assignments for ident in wanted)
        plans.append(
            AppPlan(
                app.name,
                placed,
                {ident: assignments[ident] for ident in wanted} if placed else {},
                () if placed else reasons.get(app.name, ()),
                app.name in never and not placed,
            )
        )
    outcome = judge_plans(problem, plans, settings)
    return Plan(
        algorithm,
        settings.mode,
        tuple(plans),
        outcome.violations,
        outcome.totals,
        outcome.objective,
    )


def judge_plans(problem: Problem, plans: Sequence[AppPlan], settings: Settings) -> Outcome:
    """Violations of running and newly placed containers alike, and the objective."""
    new: list[tuple[Container, int, int]] = []
    free = problem.free.copy()
    touched = np.zeros(problem.size, dtype=np.bool_)
    total = 0
    for number, group in enumerate(problem.groups):
        total += group.count
        app, plan = problem.apps[group.app], plans[group.app]
        for i in group.indices:
            container = app.container(group.spec, i)
            name = plan.assignments.get(container.id)
            if name is not None:
                node = problem.index[name]
                new.append((container, group.kind, node))
                free[node] -= problem.needs[number]
                touched[node] = True
    containers = (*problem.running, *(c for c, _, _ in new))
    kinds = np.concatenate(
        [problem.container_kind, np.array([k for _, k, _ in new], dtype=np.int64)]
    )
    nodes = np.concatenate(
        [problem.container_node, np.array([n for _, _, n in new], dtype=np.int64)]
    )
    judge = _Judge(problem, kinds, nodes)
    misses: list[tuple[int, int, float]] = []
    weighted = 0.0
    instances = 0
    is_subject = np.zeros(len(containers), dtype=np.bool_)
    for family in problem.families:
        subjects = judge.containers_of(family.kinds)
        instances += len(subjects)
        is_subject[subjects] = True
        if family.trivial or not len(subjects):
            continue
        extents = judge.extents(family, nodes[subjects])
        missing = np.flatnonzero(extents > 0)
        for at in missing.tolist():
            misses.append((int(subjects[at]), family.rule, float(extents[at])))
            weighted += family.weight * float(extents[at])
    misses.sort(key=lambda miss: (miss[0], miss[1]))
    violations = tuple(
        Violation(problem.rules[rule].label, containers[c].app, containers[c].id, extent)
        for c, rule, extent in misses
    )
    used = problem.occupied | touched
    totals = Totals(
        containers=total,
        placed=len(new),
        subjects=int(is_subject.sum()),
        violating=len({c for c, _, _ in misses}),
        extent=sum(extent for _, _, extent in misses),
        nodes_used=int(used.sum()),
    )
    placed = sum(plan.placed for plan in plans)
    weights = settings.weights
    objective = weights.placed * placed / len(plans) if plans else 0.0
    if instances:
        objective -= weights.violations * weighted / instances
    if problem.size:
        spoilt = int((touched & (free < problem.keep_free).any(axis=1)).sum())
        objective += weights.fragmentation * (problem.size - spoilt) / problem.size
        objective -= weights.machines * totals.nodes_used / problem.size
        if weights.balance:
            objective -= weights.balance * float(node_loads(problem, free).sum()) / problem.size
    return Outcome(violations, totals, weighted, instances, objective)


class _Judge:
    """Extents of placed containers, on whichever nodes they are."""

    def __init__(self, problem: Problem, kinds: Ints, nodes: Ints) -> None:
        self._problem = problem
        self._nodes = nodes
        self._order = np.argsort(kinds, kind="stable")
        self._starts = np.searchsorted(kinds[self._order], np.arange(len(problem.kinds) + 1))
        self._counts: dict[int, Ints] = {}

    def containers_of(self, kinds: set[int] | frozenset[int]) -> Ints:
        starts, order = self._starts, self._order
        if not kinds:
            return np.zeros(0, dtype=np.int64)
        return np.concatenate([order[starts[k] : starts[k + 1]] for k in sorted(kinds)])

    def _count(self, counter: int) -> Ints:
        known = self._counts.get(counter)
        if known is None:
            found = self._problem.counters[counter]
            nodes = self._nodes[self.containers_of(found.kinds)]
            per_node = np.bincount(nodes, minlength=self._problem.size)
            known = self._problem.set_groups[found.group].per_set(per_node)
            if len(self._counts) > 512:
                self._counts.clear()
            self._counts[counter] = known
        return known

    def extents(self, family: Family, nodes: Ints) -> Floats:
        counts = {counter: self._count(counter) for counter in family.counters}
        best: Floats | None = None
        for all_of in family.alternatives:
            total = np.zeros(len(nodes))
            for atom in all_of:
                per_set = set_extents(atom, counts, placed=True)
                group = self._problem.set_groups[atom.group]
                if group.single is not None:
                    home = group.single[nodes]
                    extent = np.ones(len(nodes))
                    inside = home >= 0
                    extent[inside] = per_set[home[inside]]
                    total += extent
                else:
                    sets_of = group.sets_of
                    total += np.array(
                        [
                            min((float(per_set[s]) for s in sets_of[n]), default=1.0)
                            for n in nodes.tolist()
                        ]
                    )
            best = total if best is None else np.minimum(best, total)
        assert best is not None
        return best
