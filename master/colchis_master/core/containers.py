"""What becomes of containers: orders until they are carried out, and what follows an end."""

from dataclasses import replace

import msgspec

from colchis.model.app import AppSpec, Kind, Restart
from colchis.wire.messages import (
    ContainerReport,
    Done,
    Exit,
    FromMaster,
    Resume,
    Start,
    Stop,
    Suspend,
    Usage,
)
from colchis_master.core.entries import AppEntry, ContainerEntry, NodeEntry, Order
from colchis_master.core.lifecycle import (
    HELD,
    ContainerState,
    ContainerStep,
    container_after,
)
from colchis_master.core.settings import ABSENT_BEATS, MAX_BATCH_ATTEMPTS, back_off
from colchis_master.core.state import State

_SEEN = {
    "starting": ContainerStep.SEEN_STARTING,
    "running": ContainerStep.SEEN_RUNNING,
    "suspended": ContainerStep.SEEN_SUSPENDED,
    "backing-off": ContainerStep.SEEN_BACKING_OFF,
    "stopping": ContainerStep.SEEN_STOPPING,
}
_UNKNOWN = Usage()
STABLE = 60.0
"""Seconds of running after which failures before are forgotten."""


class Containers:
    """The steps of containers once they are placed."""

    def __init__(self, state: State) -> None:
        self._state = state

    def reported(
        self, entry: ContainerEntry, report: ContainerReport, now: float, seq: int | None
    ) -> None:
        """What its agent says of this incarnation; ``seq`` None is said in passing."""
        if seq is not None:
            if seq <= entry.report_seq:
                return
            entry.report_seq = seq
        entry.absent = 0
        known = entry.report
        entry.report = _with_usage(report, known)
        if report.state == "ended":
            self.ended(entry, report.exit or Exit("lost"), now)
            return
        before = entry.state
        step = _SEEN[report.state]
        if known is None or entry.order is not None or container_after(before, step) is not before:
            self._state.step(entry, step, keep=False)
        if entry.state is not before:
            text = f"{entry.name} is {entry.state}"
            if entry.state is ContainerState.BACKING_OFF and report.exit is not None:
                text += f", since it {describe_exit(report.exit)}"
            self._state.emit("container", text, container=entry)
        if entry.state is not ContainerState.RUNNING:
            entry.running_since = None
        elif entry.running_since is None:
            entry.running_since = now
        elif entry.failures and now - entry.running_since >= STABLE:
            entry.failures = 0

    def missing(self, entry: ContainerEntry, now: float) -> None:
        """A heartbeat of its node does not have it."""
        order = entry.order
        unseen = entry.report is None or entry.state is ContainerState.UNCONFIRMED
        if unseen and not (order is not None and order.kind is Start and order.acknowledged):
            return
        entry.absent += 1
        if entry.absent >= ABSENT_BEATS:
            self.ended(entry, Exit("lost", detail="its agent no longer has it"), now)

    def done(self, node: NodeEntry, message: Done, now: float) -> None:
        """An agent's answer to an order."""
        for entry in self._state.held.get(node.name, ()):
            order = entry.order
            if order is not None and order.number == message.order:
                break
        else:
            return
        # A stop is ordered until it is carried out, whatever stood in its way.
        order.acknowledged = order.kind is not Stop
        if message.error:
            entry.note = message.error
        if order.kind is Stop and not message.error:
            self.ended(entry, Exit("stopped"), now)
        elif entry.displaced and message.error:
            self._not_displaced(entry)
        elif order.kind in (Suspend, Resume) and message.error:
            entry.suspended = not entry.suspended
            self._state.persist(entry.record())
            self._state.emit("order", f"{entry.name}: {message.error}", container=entry)

    def _not_displaced(self, entry: ContainerEntry) -> None:
        """It cannot be suspended; where its cores are others' already, it has to go."""
        state = self._state
        if entry.released:
            entry.again = True
            self.stop(entry, 0.0)
        else:
            state.displaced.discard(entry)
            entry.displaced = False

    def ended(self, entry: ContainerEntry, exit_: Exit, now: float) -> None:
        """It runs no more: it is gone, stays as it ended, or is placed again."""
        state = self._state
        entry.exit = exit_
        entry.running_since = None
        state.unplace(entry)
        state.step(entry, ContainerStep.END)
        text = describe_exit(exit_)
        state.emit("ended", f"{entry.name} {text}", container=entry)
        self.settle(entry, now)

    def settle(self, entry: ContainerEntry, now: float) -> None:
        """Decide what becomes of a container that has ended."""
        state = self._state
        app = state.apps[entry.id.app]
        if app.stopping or not entry.wanted:
            state.drop_container(entry)
            if app.stopping and not app.containers:
                state.drop_app(app)
                state.emit("app", f"{app.name} has ended", app=app.name)
        elif entry.again:
            self.renew(app, entry)
        elif (exit_ := entry.exit) is not None and _goes_on(app.spec, entry, exit_):
            entry.failures += 1
            delay = back_off(entry.failures)
            entry.not_before = now + delay
            self.renew(app, entry)
            entry.note = f"placed again {delay:g} s after it {describe_exit(exit_)}"

    def renew(self, app: AppEntry, entry: ContainerEntry) -> None:
        """From the end to waiting for a place, by the app's present spec."""
        state = self._state
        if entry.id.group not in {group.name for group in app.spec.groups}:
            state.drop_container(entry)
            return
        entry.again = False
        entry.node = None
        self.refresh(app, entry)
        state.step(entry, ContainerStep.AGAIN)
        app.fresh = True

    def refresh(self, app: AppEntry, entry: ContainerEntry) -> None:
        """Let a container that is nowhere follow the app's present spec."""
        group = app.spec.group(entry.id.group)
        entry.revision = app.revision
        entry.group = group
        entry.container = app.spec.container(group, entry.id.index)

    def lost(self, entry: ContainerEntry, now: float) -> None:
        """Its node is lost."""
        state = self._state
        node = entry.node
        app = state.apps[entry.id.app]
        never = app.spec.kind is Kind.BATCH and entry.group.restart is Restart.NEVER
        never = never or entry.is_copy
        if entry.state is ContainerState.STOPPING or never:
            self.ended(entry, Exit("lost", detail=f"node {node} is lost"), now)
            return
        assert node is not None
        state.unplace(entry)
        entry.former = (node, entry.incarnation)
        entry.node = entry.report = None
        entry.running_since = None
        state.step(entry, ContainerStep.LOSE)
        app.fresh = True

    def stop(self, entry: ContainerEntry, grace: float) -> None:
        """Order an end, which a container that is nowhere has at once."""
        state = self._state
        entry.grace = grace
        entry.order = None
        if entry.state in HELD:
            state.step(entry, ContainerStep.STOP)
            state.persist(entry.record())
        elif not entry.wanted or state.apps[entry.id.app].stopping:
            state.drop_container(entry)

    def flush(self, now: float, *, all_due: bool = False) -> None:
        """Send the orders that are due; ``all_due`` looks at those under way as well."""
        state = self._state
        entries = state.touched | state.active if all_due else state.touched
        state.touched = set()
        for entry in sorted(entries, key=lambda e: (e.incarnation, str(e.id))):
            if entry.state in HELD:
                self._order(entry, now)
            else:
                state.active.discard(entry)

    def _order(self, entry: ContainerEntry, now: float) -> None:
        state = self._state
        kind = wanted_order(entry)
        order = entry.order
        if kind is None:
            entry.order = None
            state.active.discard(entry)
            return
        state.active.add(entry)
        if order is None or order.kind is not kind or order.incarnation != entry.incarnation:
            order = entry.order = Order(state.next_order(), kind, entry.incarnation, now)
        node = state.nodes[entry.node or ""]
        if now >= order.due and node.link and not order.acknowledged:
            order.due = now + state.settings.order_again
            state.send(node, self._message(entry, order))

    def _message(self, entry: ContainerEntry, order: Order) -> FromMaster:
        epoch, name = self._state.epoch, entry.name
        if order.kind is Stop:
            return Stop(epoch, order.number, name, entry.incarnation, entry.grace)
        if order.kind is Suspend:
            return Suspend(epoch, order.number, name, entry.incarnation)
        if order.kind is Resume:
            return Resume(epoch, order.number, name, entry.incarnation)
        group = entry.group
        settings = self._state.settings
        return Start(
            epoch,
            order.number,
            name,
            entry.incarnation,
            list(group.command or ("colchis-executor",)),
            dict(group.env),
            dict(group.resources.by_name),
            group.restart.value,
            group.executor,
            settings.token,
            settings.executors if group.executor else settings.jobs if group.jobs else None,
        )


def wanted_order(entry: ContainerEntry) -> type[FromMaster] | None:
    """What its agent has still to be told, if anything."""
    held_back = entry.suspended or entry.displaced
    match entry.state:
        case ContainerState.STOPPING:
            return Stop
        case ContainerState.UNCONFIRMED:
            return Start
        case ContainerState.STARTING:
            if entry.report is None:
                return Start
            return Suspend if held_back else None
        case ContainerState.RUNNING | ContainerState.BACKING_OFF:
            return Suspend if held_back else None
        case ContainerState.SUSPENDED:
            return None if held_back else Resume
        case _:
            return None


def _with_usage(report: ContainerReport, before: ContainerReport | None) -> ContainerReport:
    """A report made between two measurements says nothing of usage: what was known holds."""
    if before is None or report.usage != _UNKNOWN:
        return report
    known = before.usage
    if report.state == "ended":
        known = Usage(known.cpu_seconds)
    return msgspec.structs.replace(report, usage=known)


def describe_exit(found: Exit) -> str:
    """For people."""
    texts = {
        "exited": f"exited with code {found.code}",
        "signal": f"was ended by signal {found.signal}",
        "oom": "ran out of memory",
        "lost": "was lost",
        "launch-failed": "could not be started",
        "stopped": "was stopped",
    }
    return texts[found.kind] + (f": {found.detail}" if found.detail else "")


def failed(found: Exit | None) -> bool:
    """Whether an end is one to worry about."""
    return found is not None and not (
        found.kind == "stopped" or (found.kind == "exited" and not found.code)
    )


def _goes_on(spec: AppSpec, entry: ContainerEntry, found: Exit) -> bool:
    """Whether a container is placed again that its agent has given up, or lost."""
    restart = entry.group.restart
    if found.kind not in ("lost", "launch-failed", "stopped"):
        return restart is Restart.ALWAYS
    if spec.kind is Kind.BATCH:
        return restart is not Restart.NEVER and entry.failures < MAX_BATCH_ATTEMPTS
    return restart is not Restart.NEVER or found.kind != "launch-failed"


def without_command(spec: AppSpec) -> list[str]:
    """Groups that say nothing to run."""
    return [g.name for g in spec.groups if g.command is None and not g.executor]


def same_but_count(one: AppSpec, other: AppSpec, group: str) -> bool:
    """Whether a group's containers are the same in both specs, however many there are."""
    first, second = one.group(group), other.group(group)
    return replace(first, count=0) == replace(second, count=0)
