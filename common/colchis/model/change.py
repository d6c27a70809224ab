"""What submitting specs would change in the apps of these names that run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from colchis.model.app import AppSpec
from colchis.model.cluster import COPIES, Cluster, Container, ContainerId
from colchis.model.constraints import Rule
from colchis.model.plan import Plan


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

    @property
    def begun(self) -> bool:
        """Whether members of the app stay, so that as many of the others are placed as fit."""
        return bool(self.kept or self.replaced)

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


def changes_on(cluster: Cluster, specs: Sequence[AppSpec]) -> list[Change]:
    """The differences to a snapshot, which tells of containers no more than tags and resources."""
    found = []
    for spec in specs:
        running = [c for c in cluster.containers if c.app == spec.name and c.id.index < COPIES]
        if running:
            found.append(_change(cluster, spec, running))
    return found


def emptied(cluster: Cluster, specs: Sequence[AppSpec], found: Sequence[Change]) -> Cluster:
    """The cluster as an update would leave it before anything is placed."""
    if not found:
        return cluster
    names = {change.app for change in found}
    gone = {ident for change in found for ident in (*change.removed, *change.replaced)}
    placed = {ident: node for ident, node in cluster.placed.items() if ident not in gone}
    containers = tuple(one for one in cluster.containers if one.id in placed)
    # What is left of a lifetime, an update begins anew.
    rules = [rule for rule in cluster.rules if rule.app not in names]
    rules += [rule for spec in specs if spec.name in names for rule in spec.rules]
    return Cluster(cluster.nodes, containers, placed, tuple(rules))


def keep_homes(plan: Plan, found: Sequence[Change]) -> Plan:
    """The same plan with members of a group exchanged, so that few leave the node they are on."""
    names: dict[ContainerId, ContainerId] = {}
    apps = []
    for app in plan.apps:
        homes = {i: node for one in found if one.app == app.app for i, node in one.replaced.items()}
        if not homes:
            apps.append(app)
            continue
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
            # Of an app placed in part, one without a place may have been given that of another.
            names.update(zip(rest, free, strict=False))
            kept.update(zip(free, (left[i] for i in rest), strict=False))
        placed = [i for i in dict.fromkeys((*app.assignments, *homes)) if i in kept]
        apps.append(replace(app, assignments={i: kept[i] for i in placed}))
    violations = tuple(
        replace(one, container=names.get(one.container, one.container)) for one in plan.violations
    )
    return replace(plan, apps=tuple(apps), violations=violations)


def _change(cluster: Cluster, spec: AppSpec, running: Sequence[Container]) -> Change:
    wanted = {container.id: container for container in spec.containers()}
    removed: dict[ContainerId, str] = {}
    replaced: dict[ContainerId, str] = {}
    fields: dict[str, dict[str, None]] = {}
    for container in running:
        ident, node = container.id, cluster.placed[container.id]
        if ident not in wanted:
            removed[ident] = node
            continue
        differ = [
            name
            for name in ("resources", "tags")
            if getattr(container, name) != getattr(wanted[ident], name)
        ]
        if differ:
            replaced[ident] = node
            fields.setdefault(ident.group, {}).update(dict.fromkeys(differ))
    before = [rule for rule in cluster.rules if rule.app == spec.name]
    return Change(
        spec.name,
        tuple(ident for ident in wanted if ident not in cluster.placed),
        removed,
        replaced,
        len(running) - len(removed) - len(replaced),
        {group: tuple(names) for group, names in fields.items()},
        _only_in(spec.rules, before),
        _only_in(before, spec.rules),
    )


def _only_in(rules: Sequence[Rule], others: Sequence[Rule]) -> tuple[Rule, ...]:
    """Rules that the others do not have, whatever is left of their lifetimes."""
    known = {replace(rule, expires=None) for rule in others}
    return tuple(rule for rule in rules if replace(rule, expires=None) not in known)
