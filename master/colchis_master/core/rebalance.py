"""Moves of running containers to known destinations: the new one is created before the old is gone.

Moves are proposed elsewhere, on a snapshot (``colchis_master.lra.rebalance``), and judged again by
the state of the moment in which each begins. The copy takes room beside the container it is of.
Once it runs the two change places, and the one that is left over is stopped, so that no member is
ever away. A copy that does not come to run is given up, and nothing has happened.
"""

from colchis.model.app import Kind
from colchis.model.cluster import ContainerId
from colchis_master.constraints.ledger import EPSILON
from colchis_master.core.allocator import Allocator
from colchis_master.core.containers import Containers
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.events import FindMoves, MakeMoves, Move
from colchis_master.core.lifecycle import ContainerState
from colchis_master.core.state import State

GRACE = 10.0
PATIENCE = 60.0
"""Seconds within which a copy has to run."""

CHECK = 10.0
"""Seconds between looks whether the placement has drifted."""

AT_ONCE = 20
"""Moves that the master looks for by itself at a time."""

_GOES_ON = (ContainerState.RUNNING, ContainerState.STARTING, ContainerState.BACKING_OFF)


class Rebalance:
    """Carries moves of service containers out."""

    def __init__(self, state: State, containers: Containers, allocator: Allocator) -> None:
        self._state = state
        self._containers = containers
        self._allocator = allocator
        self._queue: list[Move] = []
        self._begun: dict[ContainerId, tuple[float, Move | None]] = {}
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

    def follow(self, now: float) -> None:
        """Let copies that run take their places; give up those that are of no use any more."""
        for ident, copy in list(self._state.copies.items()):
            began, _ = self._begun.setdefault(ident, (now, None))
            entry = self._state.containers.get(ident)
            if copy.state is ContainerState.STOPPING:
                continue
            if entry is None or self._useless(entry, now - began):
                self._state.emit("move", f"{copy.name} stays where it is", container=copy)
                self._containers.stop(copy, GRACE)
            elif copy.state is ContainerState.RUNNING and entry.state in _GOES_ON:
                self._state.exchange(entry, copy)
                text = f"{entry.name} has moved from {copy.node} to {entry.node}"
                entry.note = ""
                self._state.emit("move", text, container=entry)
                self._containers.stop(copy, GRACE)
        for ident in [ident for ident in self._begun if ident not in self._state.copies]:
            _, move = self._begun.pop(ident)
            entry = self._state.containers.get(ident)
            if entry is not None and move is not None and entry.node != move.target:
                entry.note = f"was to move to {move.target}, where it did not come to run"

    def _useless(self, entry: ContainerEntry, seconds: float) -> bool:
        app = self._state.apps[entry.id.app]
        return (
            entry.suspended
            or entry.state not in (*_GOES_ON, ContainerState.UNCONFIRMED)
            or entry.revision != app.revision
            or seconds > PATIENCE
        )

    def _begin(self, now: float) -> None:
        while self._queue:
            move = self._queue[0]
            entry = self._state.containers.get(move.container)
            obstacle = "it is not as it was when the move was found"
            if entry is not None and entry.node == move.source and self._may_move(entry):
                if not self._has_leave(self._state.apps[entry.id.app]):
                    return
                obstacle = self._try(entry, move, now)
                if obstacle and self._state.copies:
                    # It may be a move before this one that is in the way until it is done.
                    return
            if obstacle:
                text = f"{move.container} is not moved to {move.target}: {obstacle}"
                self._state.emit("move", text, container=entry)
            self._queue.pop(0)

    def _has_leave(self, app: AppEntry) -> bool:
        """Whether another member of the app may be on its way."""
        under_way = sum(entry.is_copy for entry in app.containers.values())
        members = len(app.containers) - under_way
        return under_way < max(1, int(members * self._state.settings.away_share))

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
        copy = self._state.add_copy(entry)
        reason = self._allocator.admit([(copy, move.target)])
        if reason:
            self._state.drop_container(copy)
            return reason
        entry.note = f"moves to {move.target}"
        self._begun[entry.id] = now, move
        return ""

    def _may_move(self, entry: ContainerEntry) -> bool:
        app = self._state.apps[entry.id.app]
        return (
            entry.state is ContainerState.RUNNING
            and app.spec.kind is Kind.SERVICE
            and not app.stopping
            and not entry.suspended
            and not entry.group.executor
            and not entry.is_copy
            and entry.revision == app.revision
            and entry.id not in self._state.copies
        )

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
