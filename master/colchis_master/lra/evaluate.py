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
from colchis_master.lra.families import Bools, Family, Floats, Ints
from colchis_master.lra.greedy import node_loads
from colchis_master.lra.problem import Problem
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
    new = _new_containers(problem, plans)
    containers = (*problem.running, *new.containers)
    judge = _Judge(
        problem,
        np.concatenate([problem.container_kind, np.array(new.kinds, dtype=np.int64)]),
        np.concatenate([problem.container_node, np.array(new.nodes, dtype=np.int64)]),
    )
    misses, instances = judge.misses()
    violations = tuple(
        Violation(problem.rules[miss.rule].label, at.app, at.id, miss.extent)
        for miss in misses
        for at in (containers[miss.container],)
    )
    weighted = sum(miss.weight * miss.extent for miss in misses)
    totals = Totals(
        containers=sum(group.count for group in problem.groups),
        placed=len(new.containers),
        subjects=judge.subjects(),
        violating=len({miss.container for miss in misses}),
        extent=sum((miss.extent for miss in misses), 0.0),
        nodes_used=int((problem.occupied | new.touched).sum()),
    )
    objective = _rest(problem, new, totals.nodes_used, settings)
    if plans:
        placed = sum(plan.placed for plan in plans)
        objective += settings.weights.placed * placed / len(plans)
    if instances:
        objective -= settings.weights.violations * weighted / instances
    return Outcome(violations, totals, weighted, instances, objective)


@dataclass(frozen=True, slots=True)
class _New:
    """The containers that plans place, and what they leave of the nodes."""

    containers: list[Container]
    kinds: list[int]
    nodes: list[int]
    free: Ints
    touched: Bools


def _new_containers(problem: Problem, plans: Sequence[AppPlan]) -> _New:
    touched = np.zeros(problem.size, dtype=np.bool_)
    new = _New([], [], [], problem.free.copy(), touched)
    for number, group in enumerate(problem.groups):
        app, plan = problem.apps[group.app], plans[group.app]
        for i in group.indices:
            container = app.container(group.spec, i)
            name = plan.assignments.get(container.id)
            if name is not None:
                node = problem.index[name]
                new.containers.append(container)
                new.kinds.append(group.kind)
                new.nodes.append(node)
                new.free[node] -= problem.needs[number]
                new.touched[node] = True
    return new


def _rest(problem: Problem, new: _New, used: int, settings: Settings) -> float:
    """The objective's parts besides apps placed and violations."""
    weights, size = settings.weights, problem.size
    if not size:
        return 0.0
    spoilt = int((new.touched & (new.free < problem.keep_free).any(axis=1)).sum())
    rest = weights.fragmentation * (size - spoilt) / size
    rest -= weights.machines * used / size
    if weights.balance:
        rest -= weights.balance * float(node_loads(problem, new.free).sum()) / size
    return rest


@dataclass(frozen=True, slots=True)
class _Miss:
    """A container, by its place among all, and by how far it misses a rule of a weight."""

    container: int
    rule: int
    extent: float
    weight: float


class _Judge:
    """Extents of placed containers, on whichever nodes they are."""

    def __init__(self, problem: Problem, kinds: Ints, nodes: Ints) -> None:
        self._problem = problem
        self._nodes = nodes
        self._order = np.argsort(kinds, kind="stable")
        self._starts = np.searchsorted(kinds[self._order], np.arange(len(problem.kinds) + 1))
        self._counts: dict[int, Ints] = {}

    def misses(self) -> tuple[list[_Miss], int]:
        """All of them, by container and rule; and how many pairs of a rule and a subject there
        are."""
        found: list[_Miss] = []
        instances = 0
        for family in self._problem.families:
            subjects = self.containers_of(family.kinds)
            instances += len(subjects)
            if family.trivial or not len(subjects):
                continue
            extents = self.extents(family, self._nodes[subjects])
            found += [
                _Miss(int(subjects[at]), family.rule, float(extents[at]), family.weight)
                for at in np.flatnonzero(extents > 0).tolist()
            ]
        found.sort(key=lambda miss: (miss.container, miss.rule))
        return found, instances

    def subjects(self) -> int:
        """How many containers are subjects of any rule."""
        kinds = {kind for family in self._problem.families for kind in family.kinds}
        return len(self.containers_of(kinds))

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
