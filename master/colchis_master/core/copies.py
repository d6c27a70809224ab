"""Second processes of service members: the new one runs before the old one goes.

A copy has an entry of its own beside its member's, on another node, and takes room there. Once it
has run for a moment the two change places, and the one that is left over is stopped, so that no
member is ever away. A copy that does not come to run is given up, and nothing has happened.
"""

from dataclasses import dataclass

from colchis.model.app import Kind
from colchis.model.cluster import ContainerId
from colchis_master.core.allocator import Allocator
from colchis_master.core.containers import Containers
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.lifecycle import ContainerState
from colchis_master.core.settings import back_off
from colchis_master.core.state import State

GRACE = 10.0
"""Seconds that the old process has to end by itself."""

PATIENCE = 60.0
"""Seconds within which a copy has to run."""

STEADY = 1.0
"""Seconds for which it has to have run before the old one goes: many failures show at once."""

_GOES_ON = (ContainerState.RUNNING, ContainerState.STARTING, ContainerState.BACKING_OFF)


@dataclass(frozen=True, slots=True)
class _Begun:
    since: float
    target: str
    revision: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The last copies of a member did not come to run: ``times`` in a row, the last on ``node``."""

    revision: int
    times: int
    node: str
    again: float
    """When the next may be tried."""


class Copies:
    """Begins copies of ``state``'s containers, and follows them to their end."""

    def __init__(self, state: State, containers: Containers, allocator: Allocator) -> None:
        self._state = state
        self._containers = containers
        self._allocator = allocator
        self._begun: dict[ContainerId, _Begun] = {}
        self._failures: dict[ContainerId, Failure] = {}

    def limit(self, app: AppEntry) -> int:
        """How many of an app's members may be on their way, or away, at a time."""
        members = sum(not entry.is_copy for entry in app.containers.values())
        return max(1, int(members * self._state.settings.away_share))

    def under_way(self, app: AppEntry) -> int:
        """How many of an app's members have a second process."""
        return sum(entry.is_copy for entry in app.containers.values())

    def objection(self, entry: ContainerEntry) -> str:
        """Why a container cannot have a copy now; nothing where it can."""
        app = self._state.apps[entry.id.app]
        if app.spec.kind is not Kind.SERVICE:
            return "it is of a batch app"
        if entry.group.executor:
            return "it is an executor"
        if entry.suspended:
            return "it is suspended"
        if entry.state is not ContainerState.RUNNING:
            return f"it is {entry.state}"
        if app.stopping or entry.is_copy or entry.id in self._state.copies:
            return "it is on its way already"
        return ""

    def failure(self, entry: ContainerEntry) -> Failure | None:
        """How the last copies by the app's present spec failed, if they did."""
        known = self._failures.get(entry.id)
        if known is None or known.revision != self._state.apps[entry.id.app].revision:
            return None
        return known

    def begin(self, entry: ContainerEntry, target: str, now: float) -> str:
        """Start a copy by the app's present spec, or say what is against it."""
        copy = self._state.add_copy(entry)
        reason = self._allocator.admit([(copy, target)])
        if reason:
            self._state.drop_container(copy)
            return reason
        entry.note = _on_its_way(target)
        self._begun[entry.id] = _Begun(now, target, copy.revision)
        return ""

    def follow(self, now: float) -> None:
        """Let copies that run take their places; give up those that are of no use any more."""
        for ident, copy in list(self._state.copies.items()):
            if ident not in self._begun:
                # A former master began it.
                self._begun[ident] = _Begun(now, copy.node or "", copy.revision)
            entry = self._state.containers.get(ident)
            if copy.state is ContainerState.STOPPING:
                continue
            if entry is None or self._useless(entry, copy, now - self._begun[ident].since):
                self._state.emit("move", f"{copy.name} stays where it is", container=copy)
                self._containers.stop(copy, GRACE)
            elif entry.state in _GOES_ON and _is_steady(copy, now):
                self._state.exchange(entry, copy)
                text = f"{entry.name} has moved from {copy.node} to {entry.node}"
                entry.note = ""
                self._state.emit("move", text, container=entry)
                self._containers.stop(copy, GRACE)
        for ident in [ident for ident in self._begun if ident not in self._state.copies]:
            self._close(ident, self._begun.pop(ident), now)

    def _close(self, ident: ContainerId, begun: _Begun, now: float) -> None:
        entry = self._state.containers.get(ident)
        app = self._state.apps.get(ident.app)
        before = self._failures.pop(ident, None)
        if entry is None or app is None or entry.node == begun.target:
            return
        if entry.note == _on_its_way(begun.target):
            entry.note = ""
        if app.revision != begun.revision or entry.suspended or app.stopping:
            return
        times = before.times + 1 if before and before.revision == begun.revision else 1
        entry.note = f"was to move to {begun.target}, where it did not come to run"
        self._failures[ident] = Failure(begun.revision, times, begun.target, now + back_off(times))

    def _useless(self, entry: ContainerEntry, copy: ContainerEntry, seconds: float) -> bool:
        app = self._state.apps[entry.id.app]
        return (
            entry.suspended
            or entry.state not in (*_GOES_ON, ContainerState.UNCONFIRMED)
            or copy.revision != app.revision
            or seconds > PATIENCE
        )


def _on_its_way(target: str) -> str:
    return f"moves to {target}"


def _is_steady(copy: ContainerEntry, now: float) -> bool:
    since = copy.running_since
    return copy.state is ContainerState.RUNNING and since is not None and now - since >= STEADY
