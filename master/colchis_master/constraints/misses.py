"""Which rules placed containers miss; judged again only where that may have changed."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from colchis.model.constraints import Rule
from colchis_master.constraints.counts import EPSILON, Kind


class Placed(Protocol):
    """What is asked of the ledger; see there."""

    @property
    def rules(self) -> Collection[Rule]: ...
    def bearing(self, kind: Kind) -> tuple[list[Rule], list[Rule]]: ...
    def extent(self, rule: Rule, kind: Kind, node: str, counted: bool) -> float: ...
    def sets_of(self, rule: Rule, node: str) -> Iterator[tuple[str, str]]: ...
    def nodes_in(self, sets: Iterable[tuple[str, str]]) -> set[str]: ...
    def subjects(self, rule: Rule) -> Iterator[tuple[Kind, str]]: ...
    def subjects_on(self, rule: Rule, nodes: Collection[str]) -> Iterator[tuple[Kind, str]]: ...


class Misses:
    """Notes what changes, which costs next to nothing; works out what follows when asked.

    It has to be told of each change, and to :meth:`settle` before a node is in other sets.
    """

    def __init__(self, placed: Placed) -> None:
        self._placed = placed
        self._missed: dict[int, dict[tuple[Kind, str], float]] = {}
        self._touched: dict[Kind, set[str]] = defaultdict(set)
        self._unsettled: dict[int, set[tuple[str, str]]] = defaultdict(set)
        """By rule, the sets whose counts are others than at the last look."""
        self._arrived: set[tuple[Kind, str]] = set()

    def touch(self, kind: Kind, node: str) -> None:
        """There are more or fewer of a kind on a node."""
        self._touched[kind].add(node)

    def settle(self) -> None:
        """Note what has to be judged again, while the nodes are in the sets they are in."""
        for kind, nodes in self._touched.items():
            self._note(kind, nodes)
        self._touched.clear()

    def forget(self, kind: Kind) -> None:
        """A kind of which none is placed will not be known any more."""
        self._note(kind, self._touched.pop(kind, ()))

    def forget_rule(self, rule: Rule) -> None:
        """A rule is in force no longer."""
        self._missed.pop(id(rule), None)
        self._unsettled.pop(id(rule), None)

    def look(self) -> Iterator[tuple[Rule, Kind, str, float]]:
        """Every rule that is missed, by which kind on which node, and how far."""
        self.settle()
        placed = self._placed
        rules = {id(rule): rule for rule in placed.rules}
        for key, rule in rules.items():
            if key not in self._missed:
                self._missed[key] = {}
                self._judge(rule, placed.subjects(rule))
            elif key in self._unsettled:
                nodes = placed.nodes_in(self._unsettled[key])
                self._judge(rule, placed.subjects_on(rule, nodes))
        for kind, node in self._arrived:
            if node in kind.nodes:
                for rule in placed.bearing(kind)[0]:
                    self._judge(rule, ((kind, node),))
        self._unsettled.clear()
        self._arrived.clear()
        for key, missed in self._missed.items():
            for (kind, node), extent in missed.items():
                yield rules[key], kind, node, extent

    def _note(self, kind: Kind, nodes: Iterable[str]) -> None:
        subject, counting = self._placed.bearing(kind)
        for node in nodes:
            if node in kind.nodes:
                self._arrived.add((kind, node))
            else:
                self._arrived.discard((kind, node))
                for rule in subject:
                    self._missed.get(id(rule), {}).pop((kind, node), None)
            for rule in counting:
                self._unsettled[id(rule)].update(self._placed.sets_of(rule, node))

    def _judge(self, rule: Rule, subjects: Iterable[tuple[Kind, str]]) -> None:
        missed = self._missed[id(rule)]
        for kind, node in subjects:
            extent = self._placed.extent(rule, kind, node, counted=True)
            if extent > EPSILON:
                missed[kind, node] = extent
            else:
                missed.pop((kind, node), None)
