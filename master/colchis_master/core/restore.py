"""The state that a journal's records stand for."""

from collections.abc import Iterable

from colchis.model.app import AppSpec
from colchis.model.cluster import ContainerId
from colchis.specs import app_from_dict, parse_rules
from colchis_master.core.entries import AppEntry, ContainerEntry, NodeEntry
from colchis_master.core.lifecycle import ContainerState
from colchis_master.core.records import AppRecord, ContainerRecord, NodeRecord, Record, RuleRecord
from colchis_master.core.state import State

_STATES = {
    "pending": ContainerState.PENDING,
    "placed": ContainerState.UNCONFIRMED,
    "stopping": ContainerState.STOPPING,
    "ended": ContainerState.ENDED,
}


def restore(state: State, records: Iterable[Record], now: float, wall: float) -> list[str]:
    """Fill an empty state. What makes no sense is left out and returned in words.

    Nodes are unknown until their agents speak, and have as long for that as any node.
    """
    problems: list[str] = []
    by_kind: dict[type, list[Record]] = {}
    for record in records:
        by_kind.setdefault(type(record), []).append(record)
    for record in by_kind.get(NodeRecord, ()):
        assert isinstance(record, NodeRecord)
        node = state.nodes[record.node] = NodeEntry(record)
        state.hear(node, now)
        state.sync_node(node)
    for record in by_kind.get(RuleRecord, ()):
        assert isinstance(record, RuleRecord)
        (rule,) = parse_rules([record.rule])
        state.constraints.add(rule, now, max(0.0, wall - record.since))
        state.rule_since[rule.label] = record.since
    for record in by_kind.get(AppRecord, ()):
        assert isinstance(record, AppRecord)
        _app(state, record, now, wall)
    for record in by_kind.get(ContainerRecord, ()):
        assert isinstance(record, ContainerRecord)
        problem = _container(state, record)
        if problem:
            problems.append(problem)
    for app in list(state.apps.values()):
        if app.stopping:
            for entry in list(app.containers.values()):
                if entry.state in (ContainerState.PENDING, ContainerState.ENDED):
                    state.drop_container(entry)
            if not app.containers:
                state.drop_app(app)
    return problems


def _app(state: State, record: AppRecord, now: float, wall: float) -> None:
    specs: dict[int, AppSpec] = {int(n): app_from_dict(s) for n, s in record.specs.items()}
    app = AppEntry(
        specs[record.revision],
        record.revision,
        specs,
        record.submitted_at,
        record.submitted_at if record.rules_since is None else record.rules_since,
        grace=record.grace,
        refused=tuple(record.refused),
        reasons=tuple(record.refused),
    )
    state.apps[app.name] = app
    state.outdated.add(app.name)
    state.altered.add(app.name)
    if not app.refused:
        age = max(0.0, wall - app.rules_since)
        state.constraints.set_app(app.name, app.spec.rules, now, age)


def _container(state: State, record: ContainerRecord) -> str:
    ident = ContainerId.parse(record.container)
    app = state.apps.get(ident.app)
    if app is None or record.revision not in app.specs:
        return f"{ident} belongs to no app that is kept"
    spec = app.specs[record.revision]
    group = spec.group(ident.group)
    wanted = {g.name: g.count for g in app.spec.groups}
    entry = ContainerEntry(
        ident,
        record.revision,
        group,
        spec.container(group, ident.index),
        state=_STATES[record.place],
        node=record.node,
        incarnation=record.incarnation,
        suspended=record.suspended,
        displaced=record.released,
        released=record.released,
        again=record.again,
        wanted=ident.index < wanted.get(ident.group, 0),
        grace=record.grace,
        failures=record.failures,
        exit=record.exit,
    )
    app.containers[ident] = state.containers[ident] = entry
    if entry.is_copy:
        state.copies[entry.original] = entry
    if record.place in ("placed", "stopping"):
        if record.node not in state.nodes:
            entry.state, entry.node = ContainerState.PENDING, None
            entry.displaced = entry.released = False
            state.index(entry)
            return f"{ident} is placed on {record.node}, a node that is not kept"
        assert record.node is not None
        state.ledger.add(entry.charged(), record.node)
        if entry.displaced:
            state.displaced.add(entry)
    state.index(entry)
    return ""
