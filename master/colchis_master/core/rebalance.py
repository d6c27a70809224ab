"""Moves of running containers to known destinations: the new one is created before the old is gone.

Moves are proposed elsewhere, on a snapshot (``colchis_master.lra.rebalance``), and judged again by
the state of the moment in which each begins; ``copies`` carries them out.
"""

from colchis_master.constraints.counts import EPSILON
from colchis_master.core.copies import Copies
from colchis_master.core.entries import ContainerEntry
from colchis_master.core.events import FindMoves, MakeMoves, Move
from colchis_master.core.state import State

CHECK = 10.0
"""Seconds between looks whether the placement has drifted."""

AT_ONCE = 20
"""Moves that the master looks for by itself at a time."""


class Rebalance:
    """Carries moves of service containers out."""

    def __init__(self, state: State, copies: Copies) -> None:
        self._state = state
        self._copies = copies
        self._queue: list[Move] = []
        self._next = 0.0
        self._looked = -1

    @property
    def under_way(self) -> int:
        """Moves that are not done."""
        return len(self._queue) + len(self._state.copies)

    def question(self, limit: int) -> FindMoves:
        """What is to be asked of those who look for moves."""
        movable = frozenset(e.id for e in self._state.placed() if self._may_move(e))
        return FindMoves(self._state.cluster(), movable, limit)

    def start(self, event: MakeMoves, now: float) -> None:
        """Make these moves, in place of any that are not begun."""
        self._queue = list(event.moves)
        if event.moves:
            count = len(event.moves)
            what = "1 container is" if count == 1 else f"{count} containers are"
            self._state.emit("rebalance", f"{what} to be moved")
        if event.request:
            self._state.answer(event.request, {})
        self._begin(now)

    def tick(self, now: float) -> None:
        """Begin what can begin; look whether the placement has drifted."""
        self._begin(now)
        self._watch(now)

    def _begin(self, now: float) -> None:
        while self._queue:
            move = self._queue[0]
            entry = self._state.containers.get(move.container)
            obstacle = "it is not as it was when the move was found"
            if entry is not None and entry.node == move.source and self._may_move(entry):
                app = self._state.apps[entry.id.app]
                if self._copies.under_way(app) >= self._copies.limit(app):
                    return
                obstacle = self._try(entry, move, now)
                if obstacle and self._state.copies:
                    # It may be a move before this one that is in the way until it is done.
                    return
            if obstacle:
                text = f"{move.container} is not moved to {move.target}: {obstacle}"
                self._state.emit("move", text, container=entry)
            self._queue.pop(0)

    def _try(self, entry: ContainerEntry, move: Move, now: float) -> str:
        """Begin a move, or say what is against it."""
        ledger = self._state.ledger
        if move.target not in ledger.nodes:
            return f"{move.target} is gone"
        with ledger.trial():
            ledger.remove(entry.id)
            here = ledger.cost(entry.container, move.source)
            there = ledger.cost(entry.container, move.target)
            ledger.add(entry.container, move.source)
        if there is None:
            return "a hard rule would be missed"
        if here is not None and there > here + EPSILON:
            return "rules would be missed further than now"
        return self._copies.begin(entry, move.target, now)

    def _may_move(self, entry: ContainerEntry) -> bool:
        present = entry.revision == self._state.apps[entry.id.app].revision
        return present and not self._copies.objection(entry)

    def _watch(self, now: float) -> None:
        threshold = self._state.settings.rebalance_threshold
        if threshold is None or now < self._next or self.under_way:
            return
        self._next = now + CHECK
        ledger = self._state.ledger
        missing = {one.container for one in self._state.constraints.violations()}
        if len(missing) <= threshold * len(ledger.home) or ledger.version == self._looked:
            return
        self._looked = ledger.version
        self._state.find_moves(self.question(AT_ONCE))
