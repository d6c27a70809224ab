"""Bounded moves that repair missed rules: each destination is known before anything is stopped.

Moves are found one after another on the state as the moves before leave it, so that every single
one lowers the weighted extents and breaks no hard rule; carried out in that order, one at a time
for each app.
"""

from dataclasses import dataclass

from colchis.model.app import Kind
from colchis.model.cluster import ContainerId
from colchis_master.constraints.ledger import EPSILON, Ledger
from colchis_master.core.allocator import Allocator
from colchis_master.core.containers import Containers
from colchis_master.core.entries import ContainerEntry
from colchis_master.core.lifecycle import ContainerState
from colchis_master.core.state import State

GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Move:
    """``gain`` is by how much the weighted extents fall."""

    container: ContainerId
    source: str
    target: str
    gain: float

    def to_plain(self) -> dict[str, object]:
        return {
            "container": str(self.container),
            "from": self.source,
            "to": self.target,
            "gain": self.gain,
        }


class Rebalance:
    """Finds moves of service containers, and carries them out."""

    def __init__(self, state: State, containers: Containers, allocator: Allocator) -> None:
        self._state = state
        self._containers = containers
        self._allocator = allocator
        self._queue: list[Move] = []
        self._flying: dict[ContainerId, Move] = {}

    @property
    def under_way(self) -> int:
        """Moves that are not done."""
        return len(self._queue) + len(self._flying)

    def find(self, limit: int) -> list[Move]:
        """At most so many moves, the most useful first; nothing is changed."""
        ledger = self._state.ledger
        moves: list[Move] = []
        while len(moves) < limit:
            move = self._best()
            if move is None:
                break
            _shift(ledger, self._state.containers[move.container], move.target)
            moves.append(move)
        for move in reversed(moves):
            _shift(ledger, self._state.containers[move.container], move.source)
        return moves

    def start(self, moves: list[Move]) -> None:
        """Carry these out, in place of any that are under way and not begun."""
        self._queue = list(moves)

    def tick(self) -> None:
        """Begin the next moves."""
        busy = {ident.app for ident in self._flying}
        later: list[Move] = []
        for move in self._queue:
            entry = self._state.containers.get(move.container)
            if entry is None or entry.node != move.source or not self._movable(entry):
                continue
            if move.container.app in busy:
                later.append(move)
                continue
            busy.add(move.container.app)
            self._flying[move.container] = move
            entry.again = True
            self._state.emit("move", f"{entry.id} leaves for {move.target}", container=entry)
            self._containers.stop(entry, GRACE)
        self._queue = later

    def land(self) -> None:
        """Place those that have ended where they were to go, if that is still right."""
        for ident, move in list(self._flying.items()):
            entry = self._state.containers.get(ident)
            if entry is None:
                del self._flying[ident]
            elif entry.state is ContainerState.PENDING:
                # Where the destination is gone meanwhile it waits like any other.
                self._allocator.admit([(entry, move.target)])
                if entry.state is ContainerState.PENDING:
                    del self._flying[ident]
            elif entry.state in (ContainerState.RUNNING, ContainerState.SUSPENDED):
                del self._flying[ident]

    def _movable(self, entry: ContainerEntry) -> bool:
        app = self._state.apps[entry.id.app]
        return (
            entry.state in (ContainerState.RUNNING, ContainerState.SUSPENDED)
            and app.spec.kind is Kind.SERVICE
            and not app.stopping
        )

    def _best(self) -> Move | None:
        state, ledger = self._state, self._state.ledger
        best: Move | None = None
        seen: set[tuple[object, str]] = set()
        for violation in state.constraints.violations():
            entry = state.containers.get(violation.container)
            if entry is None or not self._movable(entry):
                continue
            home = ledger.home[entry.id]
            alike = (ledger.kind(entry.container), home)
            if alike in seen:
                continue
            seen.add(alike)
            move = self._better(entry, home)
            if move is not None and (best is None or move.gain > best.gain + EPSILON):
                best = move
        return best

    def _better(self, entry: ContainerEntry, home: str) -> Move | None:
        ledger = self._state.ledger
        ledger.remove(entry.id)
        here = ledger.cost(entry.container, home)
        found: Move | None = None
        for node in list(ledger.room(entry.container)):
            cost = ledger.cost(entry.container, node)
            if node == home or cost is None:
                continue
            # A place that a hard rule forbids is worth leaving whatever the destination costs.
            gain = (1e9 if here is None else here) - cost
            if gain > EPSILON and (found is None or gain > found.gain):
                found = Move(entry.id, home, node, gain)
                if cost <= EPSILON:
                    break
        ledger.add(entry.container, home)
        return found


def _shift(ledger: Ledger, entry: ContainerEntry, node: str) -> None:
    ledger.remove(entry.id)
    ledger.add(entry.container, node)
