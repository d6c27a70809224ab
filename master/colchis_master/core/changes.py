"""What submitting specs would change in the apps of these names that run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, ContainerId
from colchis.model.constraints import Rule
from colchis.model.plan import Plan
from colchis_master.core.apps import over
from colchis_master.core.entries import AppEntry
from colchis_master.core.lifecycle import HELD
from colchis_master.core.state import State


@dataclass(frozen=True, slots=True)
class Change:
    """One app's containers and rules; ``removed`` and ``replaced`` with the nodes they are on.

    ``replaced`` are those that a changed group has; ``fields`` says what of it, by group.
    """

    app: str
    added: tuple[ContainerId, ...]
    removed: dict[ContainerId, str]
    replaced: dict[ContainerId, str]
    kept: int
    fields: dict[str, tuple[str, ...]]
    rules_added: tuple[Rule, ...]
    rules_removed: tuple[Rule, ...]

    def to_contract(self, plan: Plan) -> dict[str, Any]:
        """As JSON, with the nodes that ``plan`` chooses."""
        to = {ident: node for app in plan.apps for ident, node in app.assignments.items()}
        stay = {ident: node for ident, node in self.replaced.items() if to.get(ident) == node}
        return {
            "app": self.app,
            "added": [{"container": str(i), "node": to.get(i)} for i in self.added],
            "removed": [{"container": str(i), "node": node} for i, node in self.removed.items()],
            "changed": [
                {"container": str(i), "node": node, "fields": list(self.fields[i.group])}
                for i, node in stay.items()
            ],
            "moved": [
                {
                    "container": str(i),
                    "from": node,
                    "to": to.get(i),
                    "fields": list(self.fields[i.group]),
                }
                for i, node in self.replaced.items()
                if i not in stay
            ],
            "kept": self.kept,
            "rules_added": [rule.label for rule in self.rules_added],
            "rules_removed": [rule.label for rule in self.rules_removed],
        }


def changes(state: State, specs: Sequence[AppSpec]) -> tuple[Cluster, list[Change]]:
    """The cluster as an update would leave it before anything is placed, and the differences.

    Only apps that are there already have any.
    """
    cluster = state.cluster()
    found: list[Change] = []
    gone: set[ContainerId] = set()
    rules = list(cluster.rules)
    for spec in specs:
        app = state.apps.get(spec.name)
        if app is None or over(app) or app.stopping:
            continue
        change = _change(app, spec)
        found.append(change)
        gone |= change.removed.keys() | change.replaced.keys()
        # What is left of a lifetime, an update begins anew.
        rules = [rule for rule in rules if rule.app != spec.name] + list(spec.rules)
    if not found:
        return cluster, found
    placed = {ident: node for ident, node in cluster.placed.items() if ident not in gone}
    containers = tuple(one for one in cluster.containers if one.id in placed)
    return Cluster(cluster.nodes, containers, placed, tuple(rules)), found


def keep_homes(plan: Plan, found: Sequence[Change]) -> Plan:
    """The same plan with members of a group exchanged, so that few leave the node they are on."""
    names: dict[ContainerId, ContainerId] = {}
    apps = []
    for app in plan.apps:
        homes = {i: node for one in found if one.app == app.app for i, node in one.replaced.items()}
        left = dict(app.assignments)
        kept: dict[ContainerId, str] = {}
        for ident, home in homes.items():
            alike = [i for i, n in left.items() if n == home and i.group == ident.group]
            if alike:
                chosen = ident if ident in alike else alike[0]
                names[chosen] = ident
                kept[ident] = left.pop(chosen)
        for group in {ident.group for ident in app.assignments}:
            free = [i for i in app.assignments if i not in kept and i.group == group]
            rest = [i for i in left if i.group == group]
            names.update(zip(rest, free, strict=True))
            kept.update(zip(free, (left[i] for i in rest), strict=True))
        apps.append(replace(app, assignments={i: kept[i] for i in app.assignments}))
    violations = tuple(
        replace(one, container=names.get(one.container, one.container)) for one in plan.violations
    )
    return replace(plan, apps=tuple(apps), violations=violations)


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
