"""What submitting specs would change in the apps that the master runs."""

from collections.abc import Sequence
from dataclasses import replace

from colchis.model.app import AppSpec
from colchis.model.change import Change, emptied
from colchis.model.cluster import Cluster, ContainerId
from colchis_master.core.apps import over
from colchis_master.core.entries import AppEntry
from colchis_master.core.lifecycle import HELD
from colchis_master.core.state import State


def changes(state: State, specs: Sequence[AppSpec]) -> tuple[Cluster, list[Change]]:
    """The cluster as an update would leave it before anything is placed, and the differences.

    Only apps that are there already have any.
    """
    found: list[Change] = []
    for spec in specs:
        app = state.apps.get(spec.name)
        if app is not None and not over(app) and not app.stopping:
            found.append(_change(app, spec))
    return emptied(state.cluster(), specs, found), found


def _change(app: AppEntry, spec: AppSpec) -> Change:
    wanted = {container.id for container in spec.containers()}
    members = {e.id: e for e in app.containers.values() if not e.is_copy}
    removed: dict[ContainerId, str] = {}
    replaced: dict[ContainerId, str] = {}
    fields: dict[str, tuple[str, ...]] = {}
    kept = 0
    for ident, entry in members.items():
        if entry.state not in HELD or entry.node is None:
            continue
        if ident not in wanted:
            removed[ident] = entry.node
            continue
        group = spec.group(ident.group)
        now = replace(entry.group, count=group.count)
        if now == group:
            kept += 1
            continue
        replaced[ident] = entry.node
        fields[ident.group] = tuple(
            name for name in group.__slots__ if getattr(now, name) != getattr(group, name)
        )
    before, after = set(app.spec.rules), set(spec.rules)
    return Change(
        spec.name,
        tuple(c.id for c in spec.containers() if c.id not in members),
        removed,
        replaced,
        kept,
        fields,
        tuple(rule for rule in spec.rules if rule not in before),
        tuple(rule for rule in app.spec.rules if rule not in after),
    )
