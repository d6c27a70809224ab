"""Who runs where, counted as rules ask for it, kept up to date with every change.

Containers that look alike to every rule (same tags, same app) are one *kind*. For each tag
expression that some rule counts, and each node set of the rule's group, the ledger holds the number
of containers that match, so that a rule is judged by a few look-ups. Its meaning is that of
``colchis.semantics.checker``, which the tests hold it to.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias, TypeVar

from colchis.model.cluster import Cluster, ClusterByNode, Container, ContainerId, Node
from colchis.model.constraints import NODE, Atom, Constraint, Rule, Scope, TagExpr
from colchis.model.resources import CPUS
from colchis_master.constraints.counts import ELSEWHERE, EPSILON, Kind, Watch
from colchis_master.constraints.misses import Misses
from colchis_master.constraints.room import FreeRoom

ONE_BY_ONE = 32
"""Nodes that are looked at each by itself, which is the quicker way while one of the first will do;
what is scarce may be something else than cpu, and thousands of nodes have none of it."""

K = TypeVar("K")
V = TypeVar("V")
_Key: TypeAlias = tuple[str, str | None]


class Ledger:
    """Nodes, placed containers and rules. ``version`` grows with every change."""

    def __init__(self) -> None:
        self.version = 0
        self.nodes: dict[str, Node] = {}
        self.home: dict[ContainerId, str] = {}
        self.on: dict[str, dict[ContainerId, Container]] = {}
        self.kinds: dict[tuple[frozenset[str], str], Kind] = {}
        self._rules: dict[int, Rule] = {}
        self._present: dict[str, set[Kind]] = {}
        self._held: dict[str, tuple[Container, ...]] = {}
        self._stale: set[str] = set()
        self._taken: dict[str, Node] | None = None
        self._free: dict[str, dict[str, int]] = {}
        self._room = FreeRoom()
        self._by_room: list[tuple[int, str]] = []
        self._members: dict[str, dict[str, set[str]]] = {}
        self._watches: dict[tuple[TagExpr, str], Watch] = {}
        self._watching: dict[_Key, list[Watch]] = defaultdict(list)
        self._alike: dict[_Key, dict[Kind, None]] = defaultdict(dict)
        self._counting: dict[_Key, list[Rule]] = defaultdict(list)
        self._rules_of: dict[str | None, list[Rule]] = defaultdict(list)
        self._subject_kinds: dict[int, dict[Kind, None]] = {}
        self._bearing: dict[Kind, tuple[list[Rule], list[Rule]]] = {}
        self._misses = Misses(self)

    @property
    def rules(self) -> Collection[Rule]:
        """Every rule in force."""
        return self._rules.values()

    def put_node(self, node: Node) -> None:
        """Add a node, or change what is known of it; what runs there goes on counting."""
        known = self.nodes.get(node.name)
        if known == node:
            return
        if known is not None and replace(known, schedulable=node.schedulable) == node:
            self.nodes[node.name] = node
            self._taken = None
            self._room.set_open(node.name, node.schedulable)
            self.version += 1
            return
        self._members.clear()
        held = dict(self.on.get(node.name, {}))
        for ident in held:
            self.remove(ident)
        self._misses.settle()
        self._forget_room(node.name)
        self.nodes[node.name] = node
        self._taken = None
        self.on[node.name] = {}
        self._present[node.name] = set()
        self._stale.add(node.name)
        self._free[node.name] = dict(node.capacity.by_name)
        self._room.put(node.name, self._free[node.name], is_open=node.schedulable)
        insort(self._by_room, (node.capacity.millicpus, node.name))
        for container in held.values():
            self.add(container, node.name)
        self.version += 1

    def drop_node(self, name: str) -> None:
        """Forget a node and what runs there."""
        if name in self.nodes:
            for ident in list(self.on[name]):
                self.remove(ident)
            self._misses.settle()
            self._forget_room(name)
            self._members.clear()
            del self.nodes[name], self.on[name], self._present[name], self._free[name]
            self._room.set_open(name, False)
            self._taken = None
            self._held.pop(name, None)
            self._stale.discard(name)
            self.version += 1

    def kind(self, container: Container) -> Kind:
        key = (container.tags, container.app)
        kind = self.kinds.get(key)
        if kind is None:
            kind = self.kinds[key] = Kind(*key)
            for at in _keys_of(kind):
                self._alike[at][kind] = None
            for rule in self._rules_for(kind.app):
                if rule.has_subject(kind.tags, kind.app):
                    self._subject_kinds[id(rule)][kind] = None
        return kind

    def forget_app(self, app: str) -> None:
        """Drop what is kept about the kinds of an app none of whose containers is placed."""
        gone = [k for k in self._alike.get((f"app:{app}", app), ()) if not k.nodes]
        for kind in gone:
            self._misses.forget(kind)
            del self.kinds[kind.tags, kind.app]
            self._bearing.pop(kind, None)
            for at in _keys_of(kind):
                alike = self._alike[at]
                del alike[kind]
                if not alike:
                    del self._alike[at]
            for rule in self._rules_for(app):
                self._subject_kinds[id(rule)].pop(kind, None)

    def add(self, container: Container, node: str) -> None:
        """Place a container; it must not be placed already."""
        assert container.id not in self.home
        self.home[container.id] = node
        self.on[node][container.id] = container
        self._change(container, node, 1)

    def remove(self, ident: ContainerId) -> None:
        """Take a container away; nothing happens where it is not placed."""
        node = self.home.pop(ident, None)
        if node is not None:
            self._change(self.on[node].pop(ident), node, -1)

    def _change(self, container: Container, node: str, by: int) -> None:
        self.version += 1
        self._stale.add(node)
        self._forget_room(node)
        free = self._free[node]
        for name, amount in container.resources.amounts:
            left = free[name] = free.get(name, 0) - by * amount
            self._room.note(node, name, left)
        insort(self._by_room, (free.get(CPUS, 0), node))
        kind = self.kind(container)
        alike = kind.nodes.get(node, 0) + by
        if alike:
            kind.nodes[node] = alike
            self._present[node].add(kind)
        else:
            del kind.nodes[node]
            self._present[node].remove(kind)
        self._misses.touch(kind, node)
        self.count(kind, node, by)

    def count(self, kind: Kind, node: str, by: int) -> None:
        """Count ``by`` containers of ``kind`` on ``node``, without placing them."""
        at = self.nodes[node]
        for key in _keys_of(kind):
            for watch in self._watching.get(key, ()):
                watch.change(at.sets_of(watch.group), kind, by)

    def cluster(self) -> Cluster:
        """A snapshot, which shares with the one before all that has not changed."""
        for name in self._stale:
            self._held[name] = tuple(self.on[name].values())
        self._stale.clear()
        if self._taken is None:
            self._taken = dict(self.nodes)
        return ClusterByNode(self._taken, dict(self._held), tuple(self._rules.values()))

    def _forget_room(self, node: str) -> None:
        if node in self._free:
            del self._by_room[bisect_left(self._by_room, (self._free[node].get(CPUS, 0), node))]

    def free(self, node: str) -> dict[str, int]:
        """What is left of a node's capacity, by the resource's name."""
        return self._free[node]

    def fits(self, container: Container, node: str, *, drained: bool = False) -> bool:
        """Whether the node takes new containers (which ``drained`` waives) and has room for it."""
        free = self._free[node]
        return (drained or self.nodes[node].schedulable) and all(
            amount <= free.get(name, 0) for name, amount in container.resources.amounts
        )

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Within, changes are made to look what they lead to, and all of them undone again."""
        version = self.version
        yield
        self.version = version

    def add_rule(self, rule: Rule) -> None:
        """Bring a rule into force."""
        self._rules[id(rule)] = rule
        self._rules_of[rule.app].append(rule)
        for key in _keys(rule):
            self._counting[key].append(rule)
        subjects = {(atom.subject.refs[0].tag, rule.app) for atom in rule.constraint.atoms()}
        self._subject_kinds[id(rule)] = {
            kind: None
            for key in subjects
            for kind in self._alike.get(key, ())
            if rule.has_subject(kind.tags, kind.app)
        }
        for expr, group in _watched(rule.constraint):
            watch = self._watches.get((expr, group))
            if watch is None:
                watch = self._watches[expr, group] = Watch(expr, group)
                key = _key(expr, None)
                self._watching[key].append(watch)
                for kind in self._alike.get(key, ()):
                    for node, times in kind.nodes.items():
                        watch.change(self.nodes[node].sets_of(group), kind, times)
            watch.users += 1
        self._rules_changed()

    def remove_rule(self, rule: Rule) -> None:
        """Take this very rule out of force."""
        del self._rules[id(rule)]
        _drop(self._rules_of, rule.app, rule)
        for key in _keys(rule):
            _drop(self._counting, key, rule)
        del self._subject_kinds[id(rule)]
        self._misses.forget_rule(rule)
        for expr, group in _watched(rule.constraint):
            watch = self._watches[expr, group]
            watch.users -= 1
            if not watch.users:
                del self._watches[expr, group]
                _drop(self._watching, _key(expr, None), watch)
        self._rules_changed()

    def _rules_for(self, app: str) -> list[Rule]:
        """Rules that containers of an app may be subjects of."""
        return [*self._rules_of.get(None, ()), *self._rules_of.get(app, ())]

    def _rules_changed(self) -> None:
        self._bearing.clear()
        self.version += 1

    def bearing(self, kind: Kind) -> tuple[list[Rule], list[Rule]]:
        """Rules that have this kind as subject, and rules that count it."""
        found = self._bearing.get(kind)
        if found is None:
            subject = [r for r in self._rules_for(kind.app) if r.has_subject(kind.tags, kind.app)]
            near = {id(r): r for key in _keys_of(kind) for r in self._counting.get(key, ())}
            counts = [r for r in near.values() if _counts(r, kind)]
            found = self._bearing[kind] = (subject, counts)
        return found

    def misses(self) -> Iterator[tuple[Rule, Kind, str, float]]:
        """Every rule that placed containers miss, with their kind and node, and how far."""
        return self._misses.look()

    def kinds_of(self, app: str) -> Collection[Kind]:
        """The kinds of an app's containers."""
        return self._alike.get((f"app:{app}", app), {}).keys()

    def extent(self, rule: Rule, kind: Kind, node: str, counted: bool) -> float:
        """How far a container of ``kind`` on ``node`` misses a rule that has it as subject.

        ``counted``: it is placed there, so that it is among those counted and has to be left out.
        """
        return min(
            sum(self._atom(atom, kind, node, counted) for atom in all_of)
            for all_of in rule.constraint.alternatives
        )

    def _atom(self, atom: Atom, kind: Kind, node: str, counted: bool) -> float:
        if not atom.subject.matches(kind.tags, kind.app, kind.app):
            return 0.0
        least: float | None = None
        for name in self.nodes[node].sets_of(atom.group):
            missed = 0.0
            for target in atom.targets:
                count = self._watches[target.expr, atom.group].count(name, kind.app)
                if counted and target.expr.matches(kind.tags, kind.app, kind.app):
                    count -= 1
                missed += target.extent(count)
            least = missed if least is None else min(least, missed)
        return 1.0 if least is None else least

    def cost(self, container: Container, node: str) -> float | None:
        """Weighted extents that placing this container there adds, for it and for those that run.

        None where a hard rule would be missed, by it or further than before by another.
        """
        kind = self.kind(container)
        subject, counting = self.bearing(kind)
        total = 0.0
        for rule in subject:
            missed = self.extent(rule, kind, node, counted=False)
            if missed > EPSILON and rule.hard:
                return None
            total += rule.weight * missed
        affected = [
            (rule, other, where)
            for rule in counting
            if self._bears(rule, kind, node)
            for other, where in self._near(rule, (node,))
        ]
        if not affected:
            return total
        before = [self.extent(rule, k, n, counted=True) for rule, k, n in affected]
        self.count(kind, node, 1)
        for (rule, other, where), was in zip(affected, before, strict=True):
            more = self.extent(rule, other, where, counted=True) - was
            if more > EPSILON and rule.hard:
                self.count(kind, node, -1)
                return None
            total += rule.weight * more * other.nodes[where]
        self.count(kind, node, -1)
        return total

    def _bears(self, rule: Rule, kind: Kind, node: str) -> bool:
        """Whether one more of ``kind`` on ``node`` can change how far anybody misses a rule.

        True where that is not seen at once. A rule that is far from its bounds has thousands of
        subjects to whom it makes no difference.
        """
        for atom in rule.constraint.atoms():
            for target in atom.targets:
                watch = self._watches[target.expr, atom.group]
                other = target.expr.matches(kind.tags, kind.app, rule.app or ELSEWHERE)
                if rule.app is None:
                    same = target.expr.matches(kind.tags, kind.app, kind.app)
                    if other and (not same or watch.own):
                        # What is counted differs from app to app.
                        return True
                    other = other or same
                if not other:
                    continue
                app = kind.app if rule.app is None else rule.app
                for name in self.nodes[node].sets_of(atom.group):
                    count = watch.count(name, app)
                    one_less, now, one_more = (
                        target.extent(max(0, count + by)) for by in (-1, 0, 1)
                    )
                    # Who is counted itself is left out of its own count.
                    if now != one_more or one_less != now:
                        return True
        return False

    def _near(self, rule: Rule, nodes: Collection[str]) -> Iterator[tuple[Kind, str]]:
        """Placed subjects of a rule on ``nodes``, or in a set of one of its groups with one."""
        sets = {at for node in nodes for at in self.sets_of(rule, node)}
        return self.subjects_on(rule, self.nodes_in(sets).union(nodes))

    def sets_of(self, rule: Rule, node: str) -> Iterator[tuple[str, str]]:
        """The sets that hold a node, of the groups that a rule is over; each with its group."""
        for group in {atom.group for atom in rule.constraint.atoms()}:
            for name in self.nodes[node].sets_of(group):
                yield group, name

    def nodes_in(self, sets: Iterable[tuple[str, str]]) -> set[str]:
        """Nodes that any of these sets holds, each given with its group."""
        nodes: set[str] = set()
        for group, name in sets:
            if group != NODE:
                nodes |= self._members_of(group).get(name, set())
            elif name in self.nodes:
                nodes.add(name)
        return nodes

    def subjects(self, rule: Rule) -> Iterator[tuple[Kind, str]]:
        """Placed subjects of a rule: their kinds, and where there are any."""
        for kind in self._subject_kinds[id(rule)]:
            for node in kind.nodes:
                yield kind, node

    def subjects_on(self, rule: Rule, nodes: Collection[str]) -> Iterator[tuple[Kind, str]]:
        """The same, on these nodes."""
        subjects = self._subject_kinds[id(rule)]
        if len(subjects) > sum(len(self._present[where]) for where in nodes):
            for where in nodes:
                for kind in self._present[where]:
                    if kind in subjects:
                        yield kind, where
            return
        for kind in subjects:
            few, many = sorted((kind.nodes.keys(), nodes), key=len)
            for where in few:
                if where in many:
                    yield kind, where

    def _members_of(self, group: str) -> dict[str, set[str]]:
        """The nodes of each set of a group."""
        sets = self._members.get(group)
        if sets is None:
            sets = self._members[group] = {}
            for node in self.nodes.values():
                for name in node.sets_of(group):
                    sets.setdefault(name, set()).add(node.name)
        return sets

    def hard_misses(
        self, rules: Iterable[Rule], nodes: Collection[str]
    ) -> dict[tuple[int, Kind, str], float]:
        """Extents above 0 of the hard ones among ``rules``, by rule, kind and node.

        Of those subjects only for whom it matters what ``nodes`` hold.
        """
        found = {}
        for rule in rules:
            if rule.hard:
                for kind, node in self._near(rule, nodes):
                    missed = self.extent(rule, kind, node, counted=True)
                    if missed > EPSILON:
                        found[id(rule), kind, node] = missed
        return found

    def room(self, container: Container) -> Iterator[str]:
        """Nodes with room for this container, those with most free cpu first.

        The ledger must not change while this is iterated over.
        """
        need = container.resources.millicpus
        fitting: set[str] | None = None
        for looked, (free, node) in enumerate(reversed(self._by_room)):
            if free < need:
                return
            if looked == ONE_BY_ONE:
                fitting = self._room.fitting(container.resources)
            if fitting is None:
                if self.fits(container, node):
                    yield node
            elif not fitting:
                return
            elif node in fitting:
                yield node

    def most_free(self, resource: str) -> int:
        """The most that one node which takes new containers has of a resource."""
        return self._room.most(resource)


def _watched(constraint: Constraint) -> set[tuple[TagExpr, str]]:
    return {(t.expr, atom.group) for atom in constraint.atoms() for t in atom.targets}


def _counts(rule: Rule, kind: Kind) -> bool:
    subjects = (ELSEWHERE, kind.app) if rule.app is None else (rule.app,)
    return any(
        target.expr.matches(kind.tags, kind.app, app)
        for atom in rule.constraint.atoms()
        for target in atom.targets
        for app in subjects
    )


# Rules and watches are found by a tag that all they count have, and by its app where that is given.


def _key(expr: TagExpr, subject_app: str | None) -> _Key:
    """Where an expression is found; ``subject_app`` is that of the rule, None if it has none."""
    for ref in expr.refs:
        if ref.scope is Scope.APP:
            return ref.tag, ref.app
        if ref.scope is Scope.SELF and subject_app is not None:
            return ref.tag, subject_app
    return expr.refs[0].tag, None


def _keys(rule: Rule) -> set[_Key]:
    return {
        _key(target.expr, rule.app) for atom in rule.constraint.atoms() for target in atom.targets
    }


def _keys_of(kind: Kind) -> Iterator[_Key]:
    for tag in kind.tags:
        yield tag, None
        yield tag, kind.app


def _drop(index: dict[K, list[V]], key: K, value: V) -> None:
    left = [other for other in index[key] if other is not value]
    if left:
        index[key] = left
    else:
        del index[key]
