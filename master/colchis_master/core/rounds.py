"""Rounds of the LRA scheduler, and the containers that need none.

At every interval all services that wait are planned together, on a snapshot, elsewhere; what comes
back is admitted app by app or goes into the next round. A service that has lost members is planned
again with those that are missing; where they do not all fit, they are placed one by one, as many as
possible: all or nothing holds for the first placement only. Containers of batch apps, and members
that a plan could not speak of (some ended for good, some backing off), never wait for a round.
"""

from collections.abc import Collection, Iterable
from typing import Any

from colchis.model.app import AppSpec, Kind
from colchis.model.plan import AppPlan, Plan
from colchis_master.constraints.choice import counted
from colchis_master.core.allocator import Allocator
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.events import Planned
from colchis_master.core.lifecycle import HELD, ContainerState
from colchis_master.core.room import Room
from colchis_master.core.state import State

FAILED_ROUND = 5.0
"""Seconds before the next round after one that failed."""


class Rounds:
    """``last`` tells of the last round, for people."""

    def __init__(self, state: State, allocator: Allocator, room: Room) -> None:
        self.last: dict[str, Any] | None = None
        self.number = 0
        self._state = state
        self._allocator = allocator
        self._room = room
        self._asked: dict[str, AppSpec] | None = None
        self._tally: dict[str, int] = {}
        self._next = 0.0
        self._version = -1
        self._retry = 0.0
        self._placed_version = -1

    def tick(self, now: float) -> None:
        """Place what needs no plan; begin a round if one is due."""
        self.place_singly(now)
        if self._asked is None and now >= self._next:
            self._next = now + self._state.settings.interval
            self._begin(now)

    def place_singly(self, now: float, only: Collection[str] | None = None) -> None:
        """Place the waiting containers that no plan is made for, of the apps ``only`` if given."""
        state = self._state
        names = {entry.id.app for entry in state.pending} if only is None else only
        alone = [app for app in map(state.apps.get, names) if app and self._alone(app, now)]
        waiting = [
            entry
            for app in alone
            for entry in app.containers.values()
            if entry.state is ContainerState.PENDING and entry.not_before <= now
        ]
        new = any(not entry.reasons for entry in waiting)
        if not waiting or (not new and state.ledger.version == self._placed_version):
            return
        if only is None:
            # As it was: one that finds no place may find one by what is placed after it.
            self._placed_version = state.ledger.version
        waiting.sort(key=self._urgency)
        self._allocator.place_each(waiting)
        for name in {entry.id.app for entry in waiting}:
            self._tell(state.apps[name])

    def _alone(self, app: AppEntry, now: float) -> bool:
        """Whether an app's containers are placed one by one."""
        if app.refused:
            return False
        if app.spec.kind is Kind.BATCH:
            return not self._room.kept(now)
        begun = any(e.state is not ContainerState.PENDING for e in app.containers.values())
        return begun and not self._whole(app, now)

    def _urgency(self, entry: ContainerEntry) -> tuple[bool, int, float, str, str, int]:
        app = self._state.apps[entry.id.app]
        priority = app.spec.priority if app.spec.priority is not None else 2
        ident = entry.id
        batch = app.spec.kind is Kind.BATCH
        return batch, priority, app.submitted_at, ident.app, ident.group, ident.index

    def _tell(self, app: AppEntry) -> None:
        """The app's reasons are those of its containers."""
        app.reasons = counted(
            reason
            for entry in app.containers.values()
            if entry.state is ContainerState.PENDING
            for reason in entry.reasons or filter(None, (entry.note,))
        )

    def _runs(self, app: AppEntry) -> bool:
        return any(entry.state in HELD for entry in app.containers.values())

    def _whole(self, app: AppEntry, now: float) -> bool:
        """Whether what the app's spec has and the ledger has not is what may be placed now."""
        home = self._state.ledger.home
        for entry in app.containers.values():
            if entry.id not in home and (
                entry.state is not ContainerState.PENDING or entry.not_before > now
            ):
                return False
        return True

    def _begin(self, now: float) -> None:
        state = self._state
        names = {entry.id.app for entry in state.pending}
        apps = [
            app
            for app in map(state.apps.__getitem__, names)
            if app.spec.kind is Kind.SERVICE
            and not app.refused
            and not app.stopping
            and self._whole(app, now)
        ]
        moved = state.ledger.version != self._version or now >= self._retry
        if not apps or not (moved or any(app.fresh for app in apps)):
            return
        apps.sort(key=lambda app: (app.submitted_at, app.name))
        for app in apps:
            app.fresh = False
        self._version = state.ledger.version
        self._retry = now + state.settings.retry_round
        self.number += 1
        specs = tuple(app.spec for app in apps)
        self._asked = {spec.name: spec for spec in specs}
        self._tally = {"apps": 0, "placed": 0, "conflicts": 0}
        state.solve(self.number, state.cluster(), specs)

    def planned(self, event: Planned, now: float) -> None:
        """A plan, or word that there is none; what does not come of it goes on waiting."""
        if self._asked is None or event.round != self.number:
            return
        asked = self._asked
        if not event.more:
            self._asked = None
        if event.plan is None:
            self._next = now + FAILED_ROUND
            reason = f"the last round failed: {event.error}"
            self._state.emit("round", reason)
            for app in self._present(asked):
                app.reasons = (reason,)
                app.fresh = True
            return
        plans = {plan.app: plan for plan in event.plan.apps}
        for app in self._present(asked):
            plan = plans.get(app.name)
            if plan is None:
                app.fresh = app.fresh or not event.more
                continue
            del asked[app.name]
            self._tally["apps"] += 1
            if not plan.placed:
                self._left_out(app, plan, now)
            elif self._commit(app, plan):
                self._tally["placed"] += 1
            else:
                self._tally["conflicts"] += 1
        if not event.more:
            self._note(event.plan)

    def _present(self, asked: dict[str, AppSpec]) -> list[AppEntry]:
        """The apps of a round that are as they were when it began."""
        found = []
        for name, spec in asked.items():
            app = self._state.apps.get(name)
            if app is not None and app.spec is spec and not app.stopping:
                found.append(app)
        return found

    def _commit(self, app: AppEntry, plan: AppPlan) -> bool:
        waiting = {e.id: e for e in app.containers.values() if e.state is ContainerState.PENDING}
        if waiting.keys() != plan.assignments.keys():
            reason = "its containers changed while it was planned"
        else:
            reason = self._allocator.admit(
                [(waiting[ident], node) for ident, node in plan.assignments.items()]
            )
        if reason:
            app.conflicts += 1
            app.fresh = True
            app.reasons = (f"planned again, because the cluster changed: {reason}",)
            self._state.emit("conflict", f"{app.name}: {reason}", app=app.name)
            return False
        app.reasons = ()
        return True

    def _left_out(self, app: AppEntry, plan: AppPlan, now: float) -> None:
        state = self._state
        if self._runs(app):
            missing = [e for e in app.containers.values() if e.state is ContainerState.PENDING]
            missing.sort(key=self._urgency)
            self._allocator.place_each(missing)
            self._tell(app)
            if any(entry.state is ContainerState.PENDING for entry in missing):
                self._room.make(app, now)
            return
        if app.reasons != plan.reasons:
            text = "; ".join(plan.reasons)
            state.emit("waiting", f"{app.name} waits: {text}", app=app.name)
        app.reasons = plan.reasons
        if plan.never and len(state.ready) == len(state.nodes):
            refuse(state, app, plan.reasons)
        elif not plan.never:
            self._room.make(app, now)

    def _note(self, plan: Plan) -> None:
        self.last = {
            "round": self.number,
            "algorithm": plan.algorithm,
            "mode": plan.mode,
            "seconds": plan.seconds,
            "gap": plan.gap,
            "optimal": plan.optimal,
            "objective": plan.objective,
            **self._tally,
        }
        self._state.emit(
            "round",
            f"round {self.number}: {self._tally['placed']} of {self._tally['apps']} apps placed"
            f" by {plan.algorithm} in {plan.seconds:.3f} s",
        )


def refuse(state: State, app: AppEntry, reasons: Iterable[str]) -> None:
    """An app that can never fit waits for nothing."""
    app.refused = app.reasons = tuple(reasons)
    for entry in list(app.containers.values()):
        state.drop_container(entry)
    state.persist(app.record())
    state.emit("refused", f"{app.name} is refused: {'; '.join(app.refused)}", app=app.name)
