"""Min-conflicts search: single containers of a plan are moved to mend missed rules.

A rule that is missed somewhere is taken at random; of the containers that could mend it, and of
the nodes each could go to, the move is made after which the weighted extents are least, even if
they grow by it (Minton et al., 1992). Where a container has just left it may not go back for some
moves (tabu search, Glover, 1989), unless that gives the best plan so far.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from colchis_master.lra.extents import node_extents
from colchis_master.lra.families import Bools, CountedAtom, Family
from colchis_master.lra.greedy import Stop, worth
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings
from colchis_master.lra.state import EPSILON, State

CONSIDERED = 8
"""Containers that are considered for one move."""
TABU = (4, 12)
"""Least and most moves for which a container may not go back."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A container of ``group`` on ``node`` that may be moved, into a set of a node group only
    where ``to`` names both."""

    group: int
    node: int
    to: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Move:
    group: int
    source: int
    target: int
    change: float


class Mover:
    """Betters a state in place; which apps are placed stays as it is."""

    def __init__(
        self, problem: Problem, settings: Settings, state: State, rng: random.Random, stop: Stop
    ) -> None:
        self._problem = problem
        self._settings = settings
        self._state = state
        self._rng = rng
        self._stop = stop
        self._tabu: dict[tuple[int, int], int] = {}
        self._members: dict[tuple[int, int], Bools] = {}
        self._made = 0

    def run(self, good_enough: Stop, patience: int) -> State:
        """Search until the plan is good enough, time is up, or ``patience`` moves in a row gave no
        better plan."""
        state = self._state
        best, kept = worth(state, self._settings), dict(state.assigned)
        least = extent = state.weighted_extent()
        idle = 0
        while idle < patience and not self._stop() and not good_enough():
            miss = self._any_miss()
            if miss is None:
                break
            idle += 1
            move = self._best_move(*miss, least - extent)
            if move is None:
                continue
            self._make(move)
            extent += move.change
            if extent > least - EPSILON:
                continue
            found = worth(state, self._settings)
            if found > best and not state.hard_breaches():
                best, kept, idle = found, dict(state.assigned), 0
                least = extent = state.weighted_extent()
        self._restore(kept)
        return state

    def _restore(self, kept: dict[tuple[int, int], int]) -> None:
        state = self._state
        for key in kept.keys() | state.assigned.keys():
            more = kept.get(key, 0) - state.assigned.get(key, 0)
            if more:
                state.place(*key, more)

    def _make(self, move: _Move) -> None:
        self._state.place(move.group, move.source, -1)
        self._state.place(move.group, move.target)
        self._made += 1
        self._tabu[move.group, move.source] = self._made + self._rng.randint(*TABU)

    def _any_miss(self) -> tuple[Family, int] | None:
        """A family and a node on which containers of it miss its rule."""
        misses: list[tuple[Family, int]] = []
        state = self._state
        for number, family in enumerate(self._problem.live):
            subjects = state.subjects[number]
            if not family.weight or not subjects.any():
                continue
            at = np.flatnonzero(subjects)
            extents = node_extents(self._problem, family, state.counts, placed=True, at=at)
            misses += [(family, node) for node in at[extents > EPSILON].tolist()]
        return self._rng.choice(misses) if misses else None

    def _best_move(self, family: Family, node: int, wanted: float) -> _Move | None:
        """The move that changes the weighted extents most for the better; one that is tabu only
        where they then change by less than ``wanted``."""
        found = list(dict.fromkeys(self._candidates(family, node)))
        if len(found) > CONSIDERED:
            found = self._rng.sample(found, CONSIDERED)
        moves = [move for each in found if (move := self._best_target(each, wanted)) is not None]
        if not moves:
            return None
        least = min(move.change for move in moves) + EPSILON
        return self._rng.choice([move for move in moves if move.change <= least])

    def _candidates(self, family: Family, node: int) -> Iterator[_Candidate]:
        """Containers whose going elsewhere, or coming here, could mend what is missed."""
        problem, state = self._problem, self._state
        for group, at in state.assigned:
            if at == node and problem.groups[group].kind in family.kinds:
                yield _Candidate(group, node)
        for atom in family.atoms:
            for name in problem.set_groups[atom.group].sets_of[node]:
                yield from self._of_set(atom, name)

    def _of_set(self, atom: CountedAtom, name: int) -> Iterator[_Candidate]:
        problem, state = self._problem, self._state
        inside = self._inside(atom.group, name)
        for target in atom.targets:
            others = int(state.counts[target.counter][name]) - target.own
            crowded = target.maximum is not None and others > target.maximum
            if not crowded and others >= target.minimum:
                continue
            kinds = problem.counters[target.counter].kinds
            for group, at in state.assigned:
                if problem.groups[group].kind in kinds and inside[at] == crowded:
                    yield _Candidate(group, at, None if crowded else (atom.group, name))

    def _inside(self, group: int, name: int) -> Bools:
        """The nodes of a set."""
        known = self._members.get((group, name))
        if known is None:
            set_group = self._problem.set_groups[group]
            known = np.zeros(self._problem.size, dtype=np.bool_)
            known[set_group.entry_node[set_group.entry_set == name]] = True
            self._members[group, name] = known
        return known

    def _best_target(self, candidate: _Candidate, wanted: float) -> _Move | None:
        state, group, source = self._state, candidate.group, candidate.node
        state.place(group, source, -1)
        soft, own, others = state.costs(group)
        change = soft - soft[source]
        allowed = state.fits(group) & (own + others <= EPSILON)
        spoils = state.spoils(group).copy()
        state.place(group, source)
        allowed[source] = False
        if candidate.to is not None:
            allowed &= self._inside(*candidate.to)
        for (tabu, node), until in self._tabu.items():
            if tabu == group and until > self._made and change[node] > wanted - EPSILON:
                allowed[node] = False
        targets = np.flatnonzero(allowed)
        if not len(targets):
            return None
        equal = targets[change[targets] <= change[targets].min() + EPSILON]
        calm = equal[~spoils[equal]]
        target = self._rng.choice((calm if len(calm) else equal).tolist())
        return _Move(group, source, target, float(change[target]))
