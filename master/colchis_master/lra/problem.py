"""A snapshot and a round of apps as arrays: what every algorithm works on.

Containers that look alike to the rules (same tags, same app) are one *kind*; what a rule asks of
the containers of a kind is a *family*, shared by all kinds of which it asks the same.
"""

import operator
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, Container, Node
from colchis.model.constraints import NODE, Atom, Rule, Scope, TagExpr
from colchis.model.resources import Resources
from colchis_master.lra.families import (
    CountedAtom,
    CountedTarget,
    Counter,
    Family,
    Floats,
    Group,
    Ints,
    SetGroup,
)

_Matcher = tuple[tuple[str, Scope, str], ...]


class Problem:
    """The compiled round. Amounts are integers in the units of ``Resources``."""

    def __init__(self, cluster: Cluster, apps: Sequence[AppSpec], keep_free: Resources) -> None:
        self.cluster = cluster
        self.apps = tuple(apps)
        self.rules = _all_rules(cluster, apps)
        self.nodes: tuple[Node, ...] = cluster.nodes
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        self.size = len(self.nodes)
        self.kinds: list[tuple[frozenset[str], str]] = []
        self._kind_of: dict[tuple[frozenset[str], str], int] = {}
        self._by_tag: dict[str, list[int]] = {}
        self.running: tuple[Container, ...] = cluster.containers
        self._compile_new()
        known = self._kind_of.get
        self.container_kind = np.array(
            [
                kind
                if (kind := known((c.tags, c.id.app))) is not None
                else self._kind(c.tags, c.app)
                for c in self.running
            ],
            dtype=np.int64,
        )
        self.container_node = np.array(
            [self.index[name] for name in _homes(cluster)], dtype=np.int64
        )
        self._compile_resources(keep_free)
        self.set_groups: list[SetGroup] = []
        self._set_group_of: dict[str, int] = {}
        self.counters: list[Counter] = []
        self._counter_of: dict[tuple[_Matcher, int], int] = {}
        self._matched: dict[_Matcher, frozenset[int]] = {}
        self.families: list[Family] = []
        self.instances = 0
        self.running_instances = 0
        self.subject_kinds: set[int] = set()
        self._compile_rules()
        self._select_live()

    def _kind(self, tags: frozenset[str], app: str) -> int:
        key = (tags, app)
        kind = self._kind_of.get(key)
        if kind is None:
            kind = self._kind_of[key] = len(self.kinds)
            self.kinds.append(key)
            for tag in tags:
                self._by_tag.setdefault(tag, []).append(kind)
        return kind

    def _compile_new(self) -> None:
        placed = self.cluster.placed
        self.groups: list[Group] = []
        self.groups_of: list[list[int]] = []
        for number, app in enumerate(self.apps):
            own: list[int] = []
            for spec in app.groups:
                missing = []
                for i in range(spec.count):
                    container = app.container(spec, i)
                    if container.id not in placed:
                        missing.append(i)
                if missing:
                    own.append(len(self.groups))
                    kind = self._kind(container.tags, app.name)
                    self.groups.append(Group(number, spec, tuple(missing), kind))
            self.groups_of.append(own)
        self.new_kinds = frozenset(group.kind for group in self.groups)
        self.total_new = sum(group.count for group in self.groups)

    def _compile_resources(self, keep_free: Resources) -> None:
        names: dict[str, None] = {}
        for node in self.nodes:
            for name, _ in node.capacity.amounts:
                names[name] = None
        for group in self.groups:
            names.update(dict.fromkeys(group.spec.resources.names()))
        names.update(dict.fromkeys(keep_free.names()))
        self.resources = tuple(names)
        # By columns: what is asked of all resources of a node is then quick to answer.
        self.capacity = np.asfortranarray(
            _amounts([n.capacity for n in self.nodes], self.resources)
        )
        usage = _amounts([c.resources for c in self.running], self.resources)
        used = np.zeros_like(self.capacity)
        for column in range(len(self.resources)):
            np.add.at(used[:, column], self.container_node, usage[:, column])
        self.free = self.capacity - used
        self.needs = np.array(
            [[g.spec.resources.get(name) for name in names] for g in self.groups], dtype=np.int64
        ).reshape(len(self.groups), len(names))
        self.keep_free = np.array([keep_free.get(name) for name in names], dtype=np.int64)
        self.schedulable = np.array([node.schedulable for node in self.nodes], dtype=np.bool_)
        self.occupied = np.zeros(self.size, dtype=np.bool_)
        self.occupied[self.container_node] = True

    def _set_group(self, name: str) -> int:
        known = self._set_group_of.get(name)
        if known is not None:
            return known
        number = self._set_group_of[name] = len(self.set_groups)
        self.set_groups.append(self._compile_set_group(name))
        return number

    def _compile_set_group(self, name: str) -> SetGroup:
        if name == NODE:
            each = np.arange(self.size)
            return SetGroup(name, tuple(self.index), each, each, each, self.size)
        numbers: dict[str, int] = {}
        held = [node.sets_of(name) for node in self.nodes]
        entry_set = np.array(
            [numbers.setdefault(member, len(numbers)) for sets in held for member in sets],
            dtype=np.int64,
        )
        memberships = np.array([len(sets) for sets in held], dtype=np.int64)
        entry_node = np.repeat(np.arange(self.size), memberships)
        single: Ints | None = None
        if not (memberships > 1).any():
            single = np.full(self.size, -1, dtype=np.int64)
            single[entry_node] = entry_set
        return SetGroup(name, tuple(numbers), entry_node, entry_set, single, self.size)

    def _matching(self, matcher: _Matcher) -> frozenset[int]:
        """Kinds whose containers a matcher counts."""
        known = self._matched.get(matcher)
        if known is None:
            lists: list[list[int]] = [self._by_tag.get(tag, []) for tag, _, _ in matcher]
            rarest = min(lists, key=len)
            candidates = set(rarest)
            for found in lists:
                candidates.intersection_update(found)
            known = frozenset(
                kind for kind in candidates if _in_scope(matcher, self.kinds[kind][1])
            )
            self._matched[matcher] = known
        return known

    def _counter(self, expr: TagExpr, group: int, subject_app: str) -> int:
        matcher: _Matcher = tuple(
            (
                ref.tag,
                ref.scope,
                ref.app
                if ref.scope is Scope.APP
                else ""
                if ref.scope is Scope.ANY
                else subject_app,
            )
            for ref in expr.refs
        )
        key = (matcher, group)
        number = self._counter_of.get(key)
        if number is None:
            number = self._counter_of[key] = len(self.counters)
            self.counters.append(Counter(group, self._matching(matcher)))
        return number

    def _compile_rules(self) -> None:
        running = np.bincount(self.container_kind, minlength=len(self.kinds))
        sizes = running.copy()
        for group in self.groups:
            sizes[group.kind] += group.count
        rules_on = [0] * len(self.kinds)
        of_app: dict[str, list[int]] = {}
        for kind, (_, app) in enumerate(self.kinds):
            of_app.setdefault(app, []).append(kind)
        everything = range(len(self.kinds))
        for number, rule in enumerate(self.rules):
            shared: dict[tuple[tuple[CountedAtom, ...], ...], Family] = {}
            subjects = self._subjects(
                rule, everything if rule.app is None else of_app.get(rule.app, ())
            )
            for kind in subjects:
                self.subject_kinds.add(kind)
                self.instances += int(sizes[kind])
                self.running_instances += int(running[kind])
                rules_on[kind] += 1
                alternatives = tuple(
                    tuple(
                        counted
                        for atom in all_of
                        if (counted := self._counted(atom, kind)) is not None
                    )
                    for all_of in rule.constraint.alternatives
                )
                family = shared.get(alternatives)
                if family is None:
                    family = shared[alternatives] = Family(
                        number, rule.weight, rule.hard, alternatives
                    )
                    self.families.append(family)
                family.kinds.add(kind)
                family.askers[kind] = number
        self.app_instances = [
            sum(self.groups[g].count * rules_on[self.groups[g].kind] for g in own)
            for own in self.groups_of
        ]

    def _subjects(self, rule: Rule, among: Iterable[int]) -> list[int]:
        found: set[int] = set()
        for atom in rule.constraint.atoms():
            lists: list[list[int]] = [self._by_tag.get(ref.tag, []) for ref in atom.subject.refs]
            rarest = min(lists, key=len)
            found.update(rarest)
        allowed = found.intersection(among)
        return [kind for kind in sorted(allowed) if rule.has_subject(*self.kinds[kind])]

    def _counted(self, atom: Atom, kind: int) -> CountedAtom | None:
        tags, app = self.kinds[kind]
        if not atom.subject.matches(tags, app, app):
            return None
        group = self._set_group(atom.group)
        targets = []
        for target in atom.targets:
            counter = self._counter(target.expr, group, app)
            own = int(kind in self.counters[counter].kinds)
            targets.append(CountedTarget(counter, own, target.minimum, target.maximum))
        return CountedAtom(group, tuple(targets))

    def _select_live(self) -> None:
        """Families whose extents the round can change: those of new containers, and those that
        count any of them."""
        moved = self._moved = {
            number for number, counter in enumerate(self.counters) if counter.kinds & self.new_kinds
        }
        self.live = _merged(filter(self.is_live, self.families))
        self.families_of = [
            [i for i, family in enumerate(self.live) if group.kind in family.kinds]
            for group in self.groups
        ]
        used = moved.intersection(c for family in self.live for c in family.counters)
        self.counters_of = [
            [number for number in sorted(used) if group.kind in self.counters[number].kinds]
            for group in self.groups
        ]

    def is_live(self, family: Family) -> bool:
        """Whether the round can change the family's extents."""
        bears = family.kinds & self.new_kinds or family.counters & self._moved
        return bool(bears) and not family.trivial

    @cached_property
    def settled_extent(self) -> float:
        """Weighted extents that the round cannot change."""
        from colchis_master.lra.settled import settled_extent

        return settled_extent(self)

    def instances_with(self, placed: Iterable[int]) -> int:
        """Pairs of a rule and a subject of it, once the apps ``placed`` are."""
        return self.running_instances + sum(self.app_instances[app] for app in placed)

    def running_per_node(self, kinds: Iterable[int]) -> Ints:
        """How many running containers of ``kinds`` each node holds."""
        mask = np.zeros(len(self.kinds), dtype=np.bool_)
        mask[list(kinds)] = True
        if not len(self.container_kind):
            return np.zeros(self.size, dtype=np.int64)
        chosen = self.container_node[mask[self.container_kind]]
        return np.bincount(chosen, minlength=self.size).astype(np.int64)

    @cached_property
    def inflicting(self) -> list[list[tuple[int, Family, frozenset[int]]]]:
        """For each group, the live families that count its containers, and in which counters."""
        counting: dict[int, list[int]] = {}
        for number, family in enumerate(self.live):
            for counter in family.counters:
                counting.setdefault(counter, []).append(number)
        found = []
        for counters in self.counters_of:
            families = sorted({i for counter in counters for i in counting.get(counter, ())})
            held = frozenset(counters)
            found.append([(i, self.live[i], self.live[i].counters & held) for i in families])
        return found

    @cached_property
    def capacity_rows(self) -> list[list[int]]:
        """Each node's capacity, for what looks at one node at a time."""
        rows: list[list[int]] = self.capacity.tolist()
        return rows

    @cached_property
    def divisors(self) -> Floats:
        """The capacity to divide by for shares: at least 1."""
        return np.maximum(self.capacity, 1).astype(np.float64)

    @cached_property
    def live_counts(self) -> tuple[Ints, ...]:
        """What runs of each counter in each set of its group; empty where no live family asks."""
        used = {c for family in self.live for c in family.counters}
        per_node: dict[frozenset[int], Ints] = {}
        found = []
        for number, counter in enumerate(self.counters):
            if number not in used:
                found.append(np.zeros(0, dtype=np.int64))
                continue
            if counter.kinds not in per_node:
                per_node[counter.kinds] = self.running_per_node(counter.kinds)
            found.append(self.set_groups[counter.group].per_set(per_node[counter.kinds]))
        return tuple(found)

    @cached_property
    def live_subjects(self) -> tuple[Ints, ...]:
        """How many running subjects of each live family each node holds."""
        return tuple(self.running_per_node(family.kinds) for family in self.live)


def _homes(cluster: Cluster) -> Iterable[str]:
    """The name of each container's node, in the order of the containers. Mostly ``placed`` has
    that order, and then no id is hashed."""
    placed = cluster.placed
    containers = cluster.containers
    same = map(operator.is_, map(operator.attrgetter("id"), containers), placed)
    if len(placed) == len(containers) and all(same):
        return placed.values()
    return [placed[container.id] for container in containers]


def _amounts(vectors: Sequence[Resources], names: Sequence[str]) -> Ints:
    """A row of amounts, in the order of ``names``, for each of ``vectors``: most are shared by
    many, or equal others."""
    objects = list(map(id, vectors))
    row_of: dict[int, int] = {}
    rows: dict[tuple[tuple[str, int], ...], int] = {}
    for each, vector in dict(zip(objects, vectors, strict=True)).items():
        row_of[each] = rows.setdefault(vector.amounts, len(rows))
    table = np.array(
        [[amounts.get(name, 0) for name in names] for amounts in map(dict, rows)], dtype=np.int64
    ).reshape(len(rows), len(names))
    found: Ints = table[np.array(list(map(row_of.__getitem__, objects)), dtype=np.int64)]
    return found


def _merged(families: Iterable[Family]) -> list[Family]:
    """Families that ask the same of different kinds as one: many apps bring the same rule."""
    merged: dict[object, list[Family]] = {}
    for family in families:
        key = (family.alternatives, family.weight, family.hard)
        alike = merged.setdefault(key, [])
        for other in alike:
            if not other.kinds & family.kinds:
                other.kinds.update(family.kinds)
                other.askers.update(family.askers)
                break
        else:
            alike.append(
                Family(
                    family.rule,
                    family.weight,
                    family.hard,
                    family.alternatives,
                    set(family.kinds),
                    dict(family.askers),
                )
            )
    return [family for alike in merged.values() for family in alike]


def _in_scope(matcher: _Matcher, app: str) -> bool:
    for _, scope, name in matcher:
        if scope is Scope.OTHERS:
            if app == name:
                return False
        elif scope is not Scope.ANY and app != name:
            return False
    return True


def _all_rules(cluster: Cluster, apps: Sequence[AppSpec]) -> tuple[Rule, ...]:
    """The rules in force and those of the round; an app that is asked for again (to be scaled or
    mended) may bring rules that are in force already, which count once."""
    known = set(cluster.rules)
    return cluster.rules + tuple(rule for app in apps for rule in app.rules if rule not in known)
