"""Placing very many containers at once where rules are per node: tens of thousands on thousands.

All containers of an app are placed together, as vectors over the nodes: an app's rules become the
number of its containers that each node can still take. Apps whose rules stand in the way of most
others go first, then large ones; each container goes to a node that is open, the emptiest in the
direction of its needs (dot product; Panigrahy et al., Heuristics for vector bin packing, 2011).
How many nodes are open decides how full they get.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from colchis_master.lra.families import Bools, Floats, Ints

HOT = 0.3
"""An app is hot where its rules times its containers are at least this share of all containers."""
UNLIMITED = 1 << 40

Score = Callable[[Floats, Floats], Floats]


def alignment(free: Floats, needs: Floats) -> Floats:
    """Dot product of what is free and what is needed, as shares of each node."""
    product: Floats = (free * needs).sum(axis=1)
    return product


def emptiest(free: Floats, needs: Floats) -> Floats:
    """The least share that stays free."""
    left: Floats = (free - needs).min(axis=1)
    return left


def first(free: Floats, needs: Floats) -> Floats:
    """First fit: the nodes in their order."""
    return -np.arange(len(free), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a container of ``app`` is, at most ``most`` (others) of ``of`` may be."""

    app: int
    of: int
    most: int


@dataclass(frozen=True, slots=True)
class Move:
    """Create a container of ``app`` on ``target``, then delete one on ``source``."""

    app: int
    source: int
    target: int


class Bulk:
    """Nodes, apps as (needs, count), and limits between them; the placement so far."""

    def __init__(self, capacity: Ints, needs: Ints, counts: Ints, limits: Iterable[Limit]) -> None:
        self.capacity = capacity
        self.needs = needs
        self.counts = counts
        self.free = capacity.copy()
        self.on: list[dict[int, int]] = [{} for _ in counts]
        """For each app, how many of its containers each node holds."""
        self._own = np.full(len(counts), UNLIMITED, dtype=np.int64)
        self._limited_by: list[list[tuple[int, int]]] = [[] for _ in counts]
        self._limits: list[list[tuple[int, int]]] = [[] for _ in counts]
        for limit in limits:
            if limit.app == limit.of:
                self._own[limit.app] = min(int(self._own[limit.app]), limit.most + 1)
            else:
                self._limited_by[limit.of].append((limit.app, limit.most))
                self._limits[limit.app].append((limit.of, limit.most))

    @property
    def placed(self) -> int:
        return sum(sum(held.values()) for held in self.on)

    def used(self) -> int:
        """Nodes that hold anything."""
        return len({node for held in self.on for node in held})

    def hot_first(self) -> list[int]:
        """Apps in the order in which they are best placed."""
        size = (self.needs / np.maximum(self.capacity.mean(axis=0), 1)).sum(axis=1)
        rules = np.array(
            [len(a) + len(b) for a, b in zip(self._limits, self._limited_by, strict=True)]
        )
        hot = rules * self.counts > HOT * self.counts.sum()
        return [int(app) for app in np.lexsort((-size, ~hot))]

    def room(self, app: int) -> Ints:
        """How many more containers of an app each node can take, by capacity and rules."""
        wanted = self.needs[app] > 0
        room = np.full(len(self.free), int(self._own[app]), dtype=np.int64)
        if wanted.any():
            fits = (self.free[:, wanted] // self.needs[app][wanted]).min(axis=1)
            room = np.minimum(room, fits + 0)
        for other, most in self._limited_by[app]:
            if self.on[other]:
                nodes = _nodes(self.on[other])
                room[nodes] = np.minimum(room[nodes], most)
        held = self.on[app]
        if held:
            # Capacity was counted for more containers, rules for all: take off those there are.
            nodes = _nodes(held)
            ruled = np.full(len(nodes), int(self._own[app]), dtype=np.int64)
            for other, most in self._limited_by[app]:
                if self.on[other]:
                    there = np.isin(nodes, _nodes(self.on[other]))
                    ruled[there] = np.minimum(ruled[there], most)
            present = np.fromiter(held.values(), dtype=np.int64, count=len(held))
            room[nodes] = np.minimum(room[nodes], ruled - present)
        for other, most in self._limits[app]:
            over = [node for node, count in self.on[other].items() if count > most]
            if over:
                room[over] = 0
        return np.maximum(room, 0)

    def add(self, app: int, node: int, times: int = 1) -> None:
        """Put containers on a node (take them away where negative), without asking."""
        held = self.on[app]
        held[node] = held.get(node, 0) + times
        if not held[node]:
            del held[node]
        self.free[node] -= self.needs[app] * times

    def place(self, app: int, count: int, open_nodes: Bools, score: Score) -> int:
        """Place up to ``count`` containers on open nodes; opens others where none is left.
        Returns how many found no place."""
        room = self.room(app)
        shares = np.maximum(self.capacity, 1)
        left = count
        while left:
            nodes = np.flatnonzero((room > 0) & open_nodes)
            if not len(nodes):
                nodes = np.flatnonzero(room > 0)[: max(1, left // 2)]
                if not len(nodes):
                    break
                open_nodes[nodes] = True
            if len(nodes) > left:
                worth = score(self.free[nodes] / shares[nodes], self.needs[app] / shares[nodes])
                nodes = nodes[np.argpartition(-worth, left - 1)[:left]]
            for node in nodes.tolist():
                self.add(app, node)
            room[nodes] -= 1
            left -= len(nodes)
        return left

    def fill(self, order: Sequence[int], opened: int, score: Score) -> int:
        """Place what is missing of all apps, with the first ``opened`` nodes open. Returns how
        many containers found no place."""
        open_nodes = np.zeros(len(self.free), dtype=np.bool_)
        open_nodes[:opened] = True
        left = 0
        for app in order:
            missing = int(self.counts[app]) - sum(self.on[app].values())
            if missing > 0:
                left += self.place(app, missing, open_nodes, score)
        return left

    def misplaced(self) -> list[tuple[int, int]]:
        """Containers to move away (app, node) so that no rule is missed and no node overfilled."""
        found: list[tuple[int, int]] = []
        for app, held in enumerate(self.on):
            for node, count in held.items():
                most = int(self._own[app])
                for other, limit in self._limited_by[app]:
                    if node in self.on[other]:
                        most = min(most, limit)
                found += [(app, node)] * max(0, count - most)
        going = Counter(found)
        for node in np.flatnonzero((self.free < 0).any(axis=1)).tolist():
            short = self.free[node].copy()
            here: list[int] = []
            for app, held in enumerate(self.on):
                if node in held:
                    short += self.needs[app] * going[app, node]
                    here += [app] * (held[node] - going[app, node])
            for app in sorted(here, key=lambda a: -int(self.needs[a].max())):
                if (short >= 0).all():
                    break
                if (self.needs[app][short < 0] > 0).any():
                    found.append((app, node))
                    short = short + self.needs[app]
        return found

    def repair(self, score: Score = emptiest) -> tuple[list[Move], list[tuple[int, int]]]:
        """Move misplaced containers, each once, to nodes where they miss nothing: every step is
        valid by itself, room for the copy included. Returns the moves made, and what could not be
        moved."""
        moves: list[Move] = []
        stuck: list[tuple[int, int]] = []
        shares = np.maximum(self.capacity, 1)
        for app, source in sorted(
            self.misplaced(), key=lambda found: -int(self.needs[found[0]].max())
        ):
            room = self.room(app)
            room[source] = 0
            nodes = np.flatnonzero(room > 0)
            if not len(nodes):
                stuck.append((app, source))
                continue
            worth = score(self.free[nodes] / shares[nodes], self.needs[app] / shares[nodes])
            target = int(nodes[int(worth.argmax())])
            self.add(app, target)
            self.add(app, source, -1)
            moves.append(Move(app, source, target))
        return moves, stuck


def _nodes(held: dict[int, int]) -> Ints:
    return np.fromiter(held.keys(), dtype=np.int64, count=len(held))


def least_nodes(capacity: Ints, needs: Ints, counts: Ints) -> int:
    """A lower bound on the nodes needed, by each resource alone."""
    demand = (needs * counts[:, None]).sum(axis=0)
    least = 0
    for r, wanted in enumerate(demand.tolist()):
        largest = np.sort(capacity[:, r])[::-1].cumsum()
        least = max(least, int(np.searchsorted(largest, wanted)) + 1)
    return least


def pack(
    capacity: Ints,
    needs: Ints,
    counts: Ints,
    limits: Sequence[Limit],
    *,
    clock: Callable[[], float],
    seconds: float,
) -> tuple[Bulk, list[tuple[float, int]]]:
    """As few nodes as can be found in the time, the first nodes being the preferred ones; and when
    how many were reached. Each try opens fewer nodes than the best so far needed."""
    started = clock()
    bound = least_nodes(capacity, needs, counts)
    best: Bulk | None = None
    history: list[tuple[float, int]] = []
    longest = 0.0
    opened = round(bound * 1.008)
    for attempt in range(64):
        begun = clock()
        if best is not None and begun + 1.2 * longest > started + seconds:
            break
        bulk = Bulk(capacity, needs, counts, limits)
        missing = bulk.fill(bulk.hot_first(), opened, (alignment, emptiest)[attempt % 2])
        longest = max(longest, clock() - begun)
        used = bulk.used()
        if best is None or (missing, used) < (int(counts.sum()) - best.placed, best.used()):
            best = bulk
            history.append((clock() - started, used))
        if attempt % 2:
            opened = max(bound, bound + (opened - bound) * 2 // 3)
        if best.used() <= bound:
            break
    assert best is not None
    return best, history
