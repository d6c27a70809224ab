"""What has changed between two snapshots, for a process that has the earlier one.

A round changes a few hundred containers of a cluster that may have tens of thousands; sending all
of it would hold up the master's loop for as long as hundreds of tasks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from colchis.model.cluster import Cluster, Container, ContainerId, Node
from colchis.model.constraints import Rule


@dataclass(frozen=True, slots=True)
class Delta:
    """``nodes`` and ``containers`` (each with its node's name) are those that are new, or not as
    they were; ``rules`` are all in force, by their number among the earlier ones where they were
    there."""

    nodes: tuple[Node, ...]
    gone_nodes: tuple[str, ...]
    containers: tuple[tuple[Container, str], ...]
    gone: tuple[ContainerId, ...]
    rules: tuple[int | Rule, ...]


def delta(before: Cluster, after: Cluster) -> Delta:
    """From one snapshot to another.

    Takes for changed what is another object, which may be too much and is never too little:
    values are immutable, and those of a running master stay the same objects as long as nothing
    changes.
    """
    rule_at = {id(rule): number for number, rule in enumerate(before.rules)}
    names = {node.name for node in after.nodes}
    return Delta(
        _others(before.nodes, after.nodes),
        tuple(node.name for node in before.nodes if node.name not in names),
        tuple(_moved(before, after)),
        tuple(_gone(before, after)),
        tuple(rule_at.get(id(rule), rule) for rule in after.rules),
    )


def apply(before: Cluster, change: Delta) -> Cluster:
    """The later snapshot, but for the order of its nodes and containers."""
    nodes = {node.name: node for node in before.nodes}
    for name in change.gone_nodes:
        del nodes[name]
    nodes.update((node.name, node) for node in change.nodes)
    containers = {container.id: container for container in before.containers}
    placed = dict(before.placed)
    for ident in change.gone:
        del containers[ident], placed[ident]
    for container, node_name in change.containers:
        containers[container.id] = container
        placed[container.id] = node_name
    rules = tuple(before.rules[one] if isinstance(one, int) else one for one in change.rules)
    return Cluster(tuple(nodes.values()), tuple(containers.values()), placed, rules)


def _others(before: tuple[Node, ...], after: tuple[Node, ...]) -> tuple[Node, ...]:
    known = set(map(id, before))
    return tuple(node for node in after if id(node) not in known)


def _moved(before: Cluster, after: Cluster) -> Iterator[tuple[Container, str]]:
    # By the objects: to compare the names of containers takes many times as long.
    known = set(map(id, before.containers))
    places = set(zip(map(id, before.placed), before.placed.values(), strict=True))
    others = [container for container in after.containers if id(container) not in known]
    seen = {container.id for container in others}
    moved = {
        ident
        for ident, node in after.placed.items()
        if (id(ident), node) not in places and ident not in seen
    }
    if moved:
        others += [container for container in after.containers if container.id in moved]
    for container in others:
        yield container, after.placed[container.id]


def _gone(before: Cluster, after: Cluster) -> Iterator[ContainerId]:
    kept = set(map(id, after.placed))
    for ident in before.placed:
        if id(ident) not in kept and ident not in after.placed:
            yield ident
