"""Cluster snapshots: reading with every problem at its place, and writing in plain form."""

from collections.abc import Iterable, Mapping
from typing import Any

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import CLUSTER, NODE, Rule
from colchis.model.parse import NAME
from colchis.model.resources import CPUS, MEMORY, Resources
from colchis.specs.apps import read_tags
from colchis.specs.cursor import Cursor, Fields, did_you_mean, shorten, suggest
from colchis.specs.resources import read_resources, resources_in
from colchis.specs.rules import read_rules, rules_to_plain
from colchis.specs.tree import Place

_NODE = ("groups", "attributes", "schedulable")


def read_snapshot(at: Cursor) -> Cluster:
    """The cluster at this place; of use only if nothing was noted."""
    fields = at.fields("a snapshot", ("nodes",), ("containers", "apps", "constraints"))
    nodes = _nodes(fields.get("nodes"))
    placed: dict[ContainerId, str] = {}
    containers = _containers(fields.get("containers"), {node.name for node in nodes}, placed)
    rules = _app_rules(fields.get("apps"))
    operators = fields.get("constraints")
    if operators:
        rules += read_rules(operators, None)
    return Cluster(nodes, containers, placed, rules)


def _nodes(at: Cursor | None) -> tuple[Node, ...]:
    nodes = []
    seen: dict[str, Place] = {}
    for item in at.items("a list of nodes") if at else ():
        fields = item.open_fields("a node", ("name", CPUS, MEMORY), _NODE)
        name = _unique_name(fields, "name", "a node's name", seen)
        groups, attributes, schedulable = (fields.get(key) for key in _NODE)
        nodes.append(
            Node(
                name,
                resources_in(fields),
                _memberships(groups) if groups else {},
                _attributes(attributes) if attributes else {},
                schedulable.flag("schedulable") if schedulable else True,
            )
        )
    return tuple(nodes)


def _unique_name(fields: Fields, key: str, what: str, seen: dict[str, Place]) -> str:
    at = fields.get(key)
    if at is None:
        return ""
    name = at.identifier(what)
    if name in seen:
        at.fail(f"{name!r} stands twice{_first(seen[name])}")
    elif name:
        seen[name] = at.value.place
    return name


def _first(place: Place) -> str:
    return f", first in line {place.line}" if place.line else ""


def _memberships(at: Cursor) -> Mapping[str, tuple[str, ...]]:
    """Node group → the sets of it that hold the node, one or a list."""
    groups = {}
    for group, item in at.entries("a mapping from node groups to sets").items():
        if group in (NODE, CLUSTER):
            item.fail(f"the node group {group!r} is predefined; leave it out")
        elif not NAME.fullmatch(group):
            item.fail(f"{shorten(group)!r} cannot be a node group; write a name such as rack")
        listed = isinstance(item.value.data, list)
        sets = item.items("sets") if listed else [item]
        names = tuple(_set_name(one, group) for one in sets)
        if len(set(names)) != len(names):
            item.fail("a set stands twice")
        groups[group] = names
    return groups


def _set_name(at: Cursor, group: str) -> str:
    name = at.literal(f"a set of {shorten(group)} by name, or a list of them")
    if isinstance(at.value.data, str | int | float) and not NAME.fullmatch(name):
        at.fail(f"{shorten(name)!r} cannot be a node set; write a name such as r1")
    return name


def _attributes(at: Cursor) -> Mapping[str, str]:
    attributes = {}
    for name, item in at.entries("a mapping from attributes to their values").items():
        attributes[name] = item.literal(f"the value of {shorten(name)}", flags=True)
    return attributes


def _containers(
    at: Cursor | None, nodes: set[str], placed: dict[ContainerId, str]
) -> tuple[Container, ...]:
    containers = []
    seen: dict[ContainerId, Place] = {}
    for item in at.items("a list of containers") if at else ():
        fields = item.fields("a container", ("container", "node"), ("tags", "resources"))
        named, node, resources = (fields.get(key) for key in ("container", "node", "resources"))
        ident = _ident(named) if named else None
        home = node.identifier("a node's name") if node else ""
        if node and home and home not in nodes:
            node.fail(f"no node is named {home!r}{did_you_mean(suggest(home, nodes))}")
        read = read_resources(resources) if resources else Resources()
        tags = read_tags(fields.get("tags"), ident or ContainerId("", "", 0))
        if ident is None or named is None:
            continue
        if ident in seen:
            named.fail(f"{ident} stands twice{_first(seen[ident])}; it runs on one node")
            continue
        seen[ident] = named.value.place
        placed[ident] = home
        containers.append(Container(ident, tags | ident.tags(), read))
    return tuple(containers)


def _ident(at: Cursor) -> ContainerId | None:
    text = at.text("a container, app/group/index")
    if not isinstance(at.value.data, str):
        return None
    try:
        ident = ContainerId.parse(text)
    except ValueError as error:
        at.fail(str(error))
        return None
    if str(ident) != text or len(text) > 300:
        at.fail(f"{shorten(text)!r} names no container; write app/group/index, such as web/a/12")
        return None
    good = at.check_identifier(ident.app, "an app's name")
    return ident if at.check_identifier(ident.group, "a group's name") and good else None


def _app_rules(at: Cursor | None) -> tuple[Rule, ...]:
    rules: tuple[Rule, ...] = ()
    seen: dict[str, Place] = {}
    for item in at.items("a list of apps") if at else ():
        fields = item.fields("an app of a snapshot", ("app",), ("constraints",))
        name = _unique_name(fields, "app", "an app's name", seen)
        constraints = fields.get("constraints")
        if constraints:
            rules += read_rules(constraints, name)
    return rules


def cluster_to_dict(cluster: Cluster, apps: Iterable[AppSpec] = ()) -> dict[str, Any]:
    """The snapshot contract; read back it gives an equal cluster.

    ``apps`` are those that run: each is listed, with or without rules. The rules come back
    ordered by app, the operator's last.
    """
    rules: dict[str, list[Rule]] = {app.name: [] for app in apps}
    operators = []
    for rule in cluster.rules:
        if rule.app is None:
            operators.append(rule)
        else:
            rules.setdefault(rule.app, []).append(rule)
    return {
        "nodes": [_node_to_plain(node) for node in cluster.nodes],
        "containers": [
            {
                "container": str(container.id),
                "node": cluster.placed[container.id],
                "tags": sorted(container.tags - container.id.tags()),
                "resources": container.resources.to_spec(),
            }
            for container in cluster.containers
        ],
        "apps": [
            {"app": app, "constraints": rules_to_plain(theirs)} for app, theirs in rules.items()
        ],
        "constraints": rules_to_plain(operators),
    }


def _node_to_plain(node: Node) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": node.name, **node.capacity.to_spec()}
    plain["groups"] = {
        group: sets[0] if len(sets) == 1 else list(sets) for group, sets in node.groups.items()
    }
    plain["attributes"] = dict(node.attributes)
    if not node.schedulable:
        plain["schedulable"] = False
    return plain
