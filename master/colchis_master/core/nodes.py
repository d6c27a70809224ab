"""Agents' messages, and which nodes are alive.

A node is heard when a message of its present session comes in. Messages of other sessions, old
heartbeats and reports that came before have no effect.
"""

from collections.abc import Sequence
from itertools import takewhile

from colchis.model.cluster import ContainerId
from colchis.wire.messages import (
    PROTOCOL,
    Bye,
    Confirm,
    ContainerReport,
    Done,
    Heartbeat,
    Hello,
    Refused,
    Report,
    Stop,
    Welcome,
)
from colchis_master.core.allocator import Allocator
from colchis_master.core.containers import Containers
from colchis_master.core.entries import ContainerEntry, NodeEntry
from colchis_master.core.events import LinkLost, Received
from colchis_master.core.lifecycle import HELD, ContainerState, ContainerStep, NodeState, NodeStep
from colchis_master.core.records import NodeRecord
from colchis_master.core.state import State

STRAY_GRACE = 5.0
PAST_SESSIONS = 50
LATE = 5.0
"""Seconds for which a greeting of an earlier session is taken for a late one."""

RESENT = 3
"""A report that came so often is confirmed although one before it is missing: reports that newer
ones supersede are never sent again."""


class Nodes:
    """Keeps the nodes of ``state`` by what their agents say, or do not say."""

    def __init__(self, state: State, containers: Containers, allocator: Allocator) -> None:
        self._state = state
        self._containers = containers
        self._allocator = allocator

    def received(self, event: Received, now: float) -> None:
        """A message of an agent."""
        message = event.message
        if isinstance(message, Hello):
            self._hello(event, message, now)
            return
        node = self._state.nodes.get(event.node)
        if node is None:
            return
        if isinstance(message, Heartbeat):
            if message.session == node.session and message.seq > node.beat:
                node.link = event.link
                self._heartbeat(node, message, now)
        elif isinstance(message, Report):
            if message.session == node.session:
                self._heard(node, now)
                self._listed(node, [message.report], now, message.seq)
                self._confirm(node, message.seq)
        elif isinstance(message, Done):
            if event.link == node.link:
                self._heard(node, now)
                self._containers.done(node, message, now)
        elif isinstance(message, Bye) and message.session == node.session:
            node.link = ""
            if node.state is NodeState.READY:
                self._state.step_node(node, NodeStep.QUIET)

    def link_lost(self, event: LinkLost) -> None:
        """A connection is gone; nothing more is sent over it."""
        node = self._state.nodes.get(event.node)
        if node is not None and node.link == event.link:
            node.link = ""

    def _hello(self, event: Received, hello: Hello, now: float) -> None:
        state = self._state
        reason = self._refusal(event, hello)
        if reason:
            state.send_to(event.node, event.link, Refused(reason))
            state.emit("refused", f"agent {event.node} is refused: {reason}", node=event.node)
            return
        facts = NodeRecord(
            hello.node,
            hello.address,
            dict(hello.capacity),
            dict(hello.attributes),
            {group: list(sets) for group, sets in hello.groups.items()},
            list(hello.unenforced),
        )
        node = state.nodes.get(hello.node)
        if node is None:
            node = state.nodes[hello.node] = NodeEntry(facts)
            state.persist(facts)
        elif hello.session in node.past_sessions and now - node.heard < LATE:
            return
        self._learn(node, facts)
        if hello.session != node.session:
            self._new_session(node, hello.session)
        node.link = event.link
        self._heard(node, now)
        state.sync_node(node)
        settings = state.settings
        state.send(
            node,
            Welcome(
                PROTOCOL, state.epoch, settings.heartbeat_interval, settings.cluster, settings.api
            ),
        )
        self._listed(node, hello.containers, now, None)
        self._forget_strays(node, hello.containers)
        for entry in state.held.get(node.name, ()):
            if entry.order is not None:
                entry.order.due = now
                entry.order.acknowledged = False
            state.touched.add(entry)

    def _refusal(self, event: Received, hello: Hello) -> str:
        if hello.protocol != PROTOCOL:
            return f"it speaks protocol {hello.protocol}, this master {PROTOCOL}"
        if hello.node != event.node:
            return f"its key is that of {event.node}, not of {hello.node}"
        if hello.epoch > self._state.epoch:
            return f"it obeys a master of epoch {hello.epoch}; this is epoch {self._state.epoch}"
        return ""

    def _learn(self, node: NodeEntry, facts: NodeRecord) -> None:
        kept = NodeRecord(
            facts.node,
            facts.address,
            facts.capacity,
            facts.attributes,
            facts.groups,
            facts.unenforced,
            node.drained,
        )
        if kept != node.facts:
            node.facts = kept
            self._state.persist(kept)

    def _new_session(self, node: NodeEntry, session: str) -> None:
        if node.session:
            node.past_sessions.append(node.session)
            del node.past_sessions[:-PAST_SESSIONS]
        node.session = session
        node.beat = -1
        node.reports.clear()
        node.confirmed = None
        for entry in self._state.held.get(node.name, ()):
            entry.report_seq = -1
            entry.absent = 0

    def _heard(self, node: NodeEntry, now: float) -> None:
        self._state.hear(node, now)
        if node.state is NodeState.READY:
            return
        if not self._state.ready:
            # Nobody was to be heard: it was the master that was cut off. All have time anew.
            for other in list(self._state.heard):
                self._state.hear(other, now)
        self._state.step_node(node, NodeStep.HEARD)

    def _heartbeat(self, node: NodeEntry, beat: Heartbeat, now: float) -> None:
        node.beat = beat.seq
        node.sample = beat.node
        node.executors = tuple(beat.executors)
        self._heard(node, now)
        # Nearly all that masters hear is that a container is where it should be.
        here = {(e.name, e.incarnation): e for e in self._state.held.get(node.name, ())}
        listed = set()
        others = []
        for report in beat.containers:
            key = report.container, report.incarnation
            listed.add(key)
            entry = here.get(key)
            if entry is not None and entry.state in HELD:
                self._containers.reported(entry, report, now, None)
            else:
                others.append(report)
        self._listed(node, others, now, None)
        self._forget_strays(node, beat.containers)
        for entry in list(self._state.held.get(node.name, ())):
            if entry.state is not ContainerState.STOPPING and (
                (entry.name, entry.incarnation) not in listed
            ):
                self._containers.missing(entry, now)

    def _listed(
        self, node: NodeEntry, reports: Sequence[ContainerReport], now: float, seq: int | None
    ) -> None:
        returning: list[tuple[ContainerEntry, ContainerReport]] = []
        for report in reports:
            entry = self._entry(report.container)
            if entry is None:
                self._stray(node, report, now)
                continue
            copy = self._state.copies.get(entry.id)
            if copy is not None and copy.incarnation == report.incarnation:
                entry = copy
            if entry.state in HELD and (entry.node, entry.incarnation) == (
                node.name,
                report.incarnation,
            ):
                self._containers.reported(entry, report, now, seq)
            elif (
                entry.state is ContainerState.PENDING
                and entry.former == (node.name, report.incarnation)
                and report.state not in ("ended", "stopping")
            ):
                returning.append((entry, report))
            else:
                self._stray(node, report, now)
        if returning:
            self._take_back(node, returning, now, seq)

    def _entry(self, name: str) -> ContainerEntry | None:
        try:
            return self._state.containers.get(ContainerId.parse(name))
        except ValueError:
            return None

    def _take_back(
        self,
        node: NodeEntry,
        returning: list[tuple[ContainerEntry, ContainerReport]],
        now: float,
        seq: int | None,
    ) -> None:
        """Containers of a node that was lost, not replaced yet: keep them where the rules allow."""
        state = self._state
        if self._allocator.reserve([(e, node.name) for e, _ in returning], drained=True):
            kept = []
            for entry, report in returning:
                if self._allocator.reserve([(entry, node.name)], drained=True):
                    self._stray(node, report, now)
                else:
                    kept.append((entry, report))
            returning = kept
        for entry, report in returning:
            entry.node = node.name
            entry.former = entry.order = None
            entry.report_seq, entry.absent = -1, 0
            state.step(entry, ContainerStep.RETURN)
            state.emit("returned", f"{entry.id} still runs on {node.name}", container=entry)
            self._containers.reported(entry, report, now, seq)

    def _stray(self, node: NodeEntry, report: ContainerReport, now: float) -> None:
        """An incarnation that should not run here (any more): stop it."""
        state = self._state
        key = (report.container, report.incarnation)
        if report.state == "ended":
            if node.strays.pop(key, None) is not None:
                state.sync_node(node)
            return
        if state.spare_unknown and self._entry(report.container) is None:
            return
        last = node.strays.get(key)
        if last is not None and now - last < state.settings.order_again:
            return
        node.strays[key] = now
        if last is None:
            state.sync_node(node)
            text = f"{report.container} should not run on {node.name}; it is stopped"
            state.emit("stray", text, node=node.name)
        order = state.next_order()
        state.send(node, Stop(state.epoch, order, *key, STRAY_GRACE))

    def _forget_strays(self, node: NodeEntry, reports: Sequence[ContainerReport]) -> None:
        if not node.strays:
            return
        listed = {(r.container, r.incarnation) for r in reports if r.state != "ended"}
        gone = [key for key in node.strays if key not in listed]
        for key in gone:
            del node.strays[key]
        if gone:
            self._state.sync_node(node)

    def _confirm(self, node: NodeEntry, seq: int) -> None:
        if node.confirmed is None:
            node.confirmed = seq - 1
        if seq > node.confirmed:
            node.reports[seq] = node.reports.get(seq, 0) + 1
            if node.reports[seq] >= RESENT:
                node.confirmed = seq
            while node.confirmed + 1 in node.reports:
                node.confirmed += 1
            for old in [number for number in node.reports if number <= node.confirmed]:
                del node.reports[old]
        if seq <= node.confirmed:
            self._state.send(node, Confirm(self._state.epoch, node.session, node.confirmed))

    def tick(self, now: float) -> None:
        """Look who has been silent for too long.

        Where nobody at all is to be heard it may be the master that is cut off: nobody is lost.
        """
        settings = self._state.settings
        patience = min(settings.suspect_after, settings.lost_after)
        quiet = takewhile(lambda node: now - node.heard > patience, self._state.heard)
        for node in list(quiet):
            silent = now - node.heard
            if node.state is NodeState.READY and silent > settings.suspect_after:
                self._state.step_node(node, NodeStep.QUIET)
            if (
                node.state in (NodeState.SUSPECT, NodeState.UNKNOWN)
                and silent > settings.lost_after
                and self._state.ready
            ):
                self._lose(node, now)

    def slept(self, seconds: float) -> None:
        """The master itself was stopped for so long; nobody was silent meanwhile."""
        for node in self._state.nodes.values():
            node.heard += seconds

    def _lose(self, node: NodeEntry, now: float) -> None:
        node.link = ""
        node.strays.clear()
        self._state.step_node(node, NodeStep.SILENT)
        for entry in sorted(
            self._state.held.get(node.name, ()), key=lambda e: (e.incarnation, str(e.id))
        ):
            self._containers.lost(entry, now)
