"""Why an app was not placed: what each node lacks, grouped, in plain words."""

import numpy as np

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, Container, ContainerId
from colchis.model.constraints import Atom, Constraint, Rule, Target
from colchis.model.resources import Resources, format_amount
from colchis.semantics.checker import describe_misses, with_assignments
from colchis_master.lra.askers import by_subject, inflicted
from colchis_master.lra.bounds import most_apps
from colchis_master.lra.families import Bools
from colchis_master.lra.greedy import Greedy
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State


def nodes_in_words(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def never_reasons(
    problem: Problem, app: int, settings: Settings, *, hurry: bool = False
) -> tuple[str, ...]:
    """Why no state of these nodes could ever hold the app; empty where one could.

    Capacity and the app's own hard rules count; the operator's rules and other apps do not, since
    they may go. Only what is certain is reported; in a ``hurry``, only what is seen at a glance.
    """
    reasons: list[str] = []
    for g in problem.groups_of[app]:
        reasons += _too_large(problem, g)
    if reasons or hurry or not problem.groups_of[app]:
        return tuple(reasons)
    spec = problem.apps[app]
    rules = tuple(_only_maxima(rule) for rule in spec.rules if rule.hard)
    bare = AppSpec(spec.name, spec.groups, spec.kind, rules)
    nodes = tuple(
        type(node)(node.name, node.capacity, node.groups, node.attributes) for node in problem.nodes
    )
    emptied = Problem(Cluster(nodes), [bare], settings.keep_free)
    if Greedy(emptied, settings).serial().placed_apps():
        return ()
    if most_apps(emptied, State(emptied)) < 1:
        return (f"{spec.name}: even if all nodes were empty they could not hold it",)
    if not _proven_impossible(emptied, settings):
        return ()
    total = sum(group.count for group in spec.groups)
    because = " under its own hard rules" if rules else ""
    return (
        f"{spec.name}: even if all nodes were empty they could not hold its {total} containers "
        f"at once{because}",
    )


def _too_large(problem: Problem, group: int) -> list[str]:
    found = problem.groups[group]
    needs = found.spec.resources
    name = f"{problem.apps[found.app].name}/{found.spec.name}"
    if not problem.size:
        return [f"{name}: there are no nodes"]
    if (problem.capacity >= problem.needs[group]).all(axis=1).any():
        return []
    reasons = []
    for r, resource in enumerate(problem.resources):
        most = int(problem.capacity[:, r].max())
        if needs.get(resource) > most:
            reasons.append(
                f"{name}: needs {format_amount(resource, needs.get(resource))}, "
                f"the largest node has {format_amount(resource, most)}"
            )
    return reasons or [f"{name}: no node has as much of everything as it needs"]


def _only_maxima(rule: Rule) -> Rule:
    """The rule as kind as others could make it: what it asks for may always come."""
    return Rule(
        Constraint(
            tuple(
                tuple(
                    Atom(
                        atom.subject,
                        tuple(Target(t.expr, 0, t.maximum) for t in atom.targets),
                        atom.group,
                    )
                    for atom in all_of
                )
                for all_of in rule.constraint.alternatives
            )
        ),
        rule.name,
        rule.app,
        rule.weight,
        rule.hard,
    )


def _proven_impossible(problem: Problem, settings: Settings) -> bool:
    """Whether the integer program can prove, within a second, that an app alone does not fit."""
    import time

    from colchis_master.lra.ilp import solve

    short = Settings("ordered", 1.0, 0.0, settings.weights, settings.r_min)
    clock = time.monotonic
    solution = solve(problem, short, clock, clock())
    return not solution.state.placed_apps() and solution.apps_proven


class Reasons:
    """Explains, for the apps left out of a placement, what stood in their way after it."""

    def __init__(self, problem: Problem, state: State, settings: Settings) -> None:
        self._problem = problem
        self._state = state
        self._settings = settings
        self._greedy = Greedy(problem, settings, state=state)

    def waiting(self, app: int) -> tuple[str, ...]:
        """What an app that could fit some day is waiting for."""
        for group in self._greedy.inner_order(app):
            for _ in range(self._problem.groups[group].count):
                node = self._greedy.best_node(group)
                if node is None:
                    reasons = self._stuck(app, group)
                    self._state.take(app)
                    return reasons
                self._state.place(group, node)
        reasons = self._missed(app)
        self._state.take(app)
        name = self._problem.apps[app].name
        return reasons or (f"{name}: no place was found for it within this round",)

    def _stuck(self, app: int, group: int) -> tuple[str, ...]:
        problem, state = self._problem, self._state
        placed = sum(n for (g, _), n in state.assigned.items() if g == group)
        spec = problem.groups[group].spec
        name = f"{problem.apps[app].name}/{spec.name}"
        if placed:
            name += f" (after {placed} of {problem.groups[group].count})"
        reasons = [
            f"{name}: {nodes_in_words(count)}: {text}"
            for text, count in shortages(problem, state, group)
        ]
        fits = state.fits(group)
        for number in problem.families_of[group]:
            family = problem.live[number]
            if family.hard:
                broken = fits & (state.own(number) > EPSILON)
                reasons += self._rule(name, app, group, number, broken)
        for number, family, bumped in problem.inflicting[group]:
            if family.hard:
                for label, change in inflicted(state, number, family, bumped):
                    count = int((fits & (change > EPSILON)).sum())
                    if count:
                        reasons.append(
                            f"{name}: {nodes_in_words(count)}: a container there keeps the "
                            f"hard rule {label}, which would be broken"
                        )
        return tuple(reasons)

    def _rule(self, name: str, app: int, group: int, number: int, broken: Bools) -> list[str]:
        if not broken.any():
            return []
        problem = self._problem
        rule = problem.rules[problem.live[number].askers[problem.groups[group].kind]]
        node = problem.nodes[int(np.flatnonzero(broken)[0])].name
        spec = problem.apps[app]
        index = problem.groups[group].indices[
            min(
                sum(n for (g, _), n in self._state.assigned.items() if g == group),
                problem.groups[group].count - 1,
            )
        ]
        container = spec.container(problem.groups[group].spec, index)
        texts = describe_misses(self._cluster(), rule, container, node)
        count = nodes_in_words(int(broken.sum()))
        return [f"{name}: {count}: hard rule {text}" for text in texts]

    def _missed(self, app: int) -> tuple[str, ...]:
        """Hard rules that the app, or others beside it, would miss where it would go."""
        problem, state = self._problem, self._state
        reasons: list[str] = []
        cluster: Cluster | None = None
        for number, nodes in state.hard_breaches():
            cluster = cluster or self._cluster()
            rules = by_subject(problem, problem.live[number])
            for node in nodes.tolist()[:1]:
                where = problem.nodes[node].name
                for container in cluster.on_node[where]:
                    rule = rules.get((container.tags, container.app))
                    texts = rule and describe_misses(cluster, rule, container, where)
                    if texts:
                        reasons += [f"{container.id}: hard rule {text}" for text in texts]
                        break
        return tuple(dict.fromkeys(reasons))

    def _cluster(self) -> Cluster:
        """The cluster with what the state holds."""
        problem = self._problem
        assignments = assignments_of(problem, self._state)
        new: list[Container] = [c for app in problem.apps for c in app.containers()]
        return with_assignments(problem.cluster, new, assignments)


def assignments_of(problem: Problem, state: State) -> dict[ContainerId, str]:
    """Containers to node names, in the order of the containers' indices."""
    found: dict[ContainerId, str] = {}
    per_group: dict[int, list[int]] = {}
    for (group, node), times in sorted(state.assigned.items()):
        per_group.setdefault(group, []).extend([node] * times)
    for number, new in enumerate(problem.groups):
        for index, node in zip(new.indices, per_group.get(number, []), strict=False):
            ident = ContainerId(problem.apps[new.app].name, new.spec.name, index)
            found[ident] = problem.nodes[node].name
    return found


def shortages(problem: Problem, state: State, group: int) -> list[tuple[str, int]]:
    """What the nodes without room lack, and how many nodes lack it."""
    needs = problem.needs[group]
    resources: Resources = problem.groups[group].spec.resources
    lacking = (state.free < needs) & (needs > 0)
    found: list[tuple[str, int]] = []
    drained = int((~problem.schedulable).sum())
    if drained:
        found.append(("drained, takes nothing new", drained))
    short = lacking.any(axis=1) & problem.schedulable
    patterns, which = np.unique(lacking[short], axis=0, return_inverse=True)
    free = state.free[short]
    for number, pattern in enumerate(patterns):
        members = free[which.reshape(-1) == number]
        parts = []
        for r in np.flatnonzero(pattern).tolist():
            name = problem.resources[r]
            # Where more runs than the node has (it came back smaller), nothing is free.
            low, high = max(0, int(members[:, r].min())), max(0, int(members[:, r].max()))
            there = format_amount(name, high)
            if low != high:
                there = f"{format_amount(name, low)} to {there}"
            parts.append(f"needs {format_amount(name, resources.get(name))}, {there} free")
        found.append(("; ".join(parts), len(members)))
    return found
