"""What has changed between two snapshots, for a process that has the earlier one.

A round changes a few hundred containers of a cluster that may have tens of thousands; sending all
of it would hold up the master's loop for as long as hundreds of tasks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import compress
from operator import is_not
from typing import TypeVar

from colchis.model.cluster import Cluster, ClusterByNode, Container, ContainerId, Node
from colchis.model.constraints import Rule

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Delta:
    """``nodes`` and ``containers`` (each with its node's name) are those that are new, or not as
    they were; ``gone_rules`` are the numbers among the earlier ones of those that are in force no
    longer, ``rules`` follow those that are left."""

    nodes: tuple[Node, ...]
    gone_nodes: tuple[str, ...]
    containers: tuple[tuple[Container, str], ...]
    gone: tuple[ContainerId, ...]
    gone_rules: tuple[int, ...]
    rules: tuple[Rule, ...]


def delta(before: Cluster, after: Cluster) -> Delta:
    """From one snapshot to another.

    Takes for changed what is another object, which may be too much and is never too little:
    values are immutable, and those of a running master stay the same objects as long as nothing
    changes. Between two snapshots that are made by node, a node that holds the same is not looked
    at.
    """
    gone_nodes: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    if before.node is not after.node:
        gone_nodes = tuple(name for name in before.node if name not in after.node)
        nodes = tuple(after.node[name] for name in _others(before.node, after.node))
    if isinstance(before, ClusterByNode) and isinstance(after, ClusterByNode):
        names = [*_others(before.on_node, after.on_node), *gone_nodes]
        was = _homes_only(before, after, names)
        now = _homes_only(after, before, names)
    else:
        was, now = _homes(before), _homes(after)
    containers = [
        (container, node)
        for ident, (container, node) in now.items()
        if ident not in was or was[ident][0] is not container or was[ident][1] != node
    ]
    return Delta(
        nodes,
        gone_nodes,
        tuple(containers),
        tuple(ident for ident in was if ident not in now),
        *_rules(before.rules, after.rules),
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
    gone = set(change.gone_rules)
    rules = [rule for number, rule in enumerate(before.rules) if number not in gone]
    return Cluster(
        tuple(nodes.values()), tuple(containers.values()), placed, (*rules, *change.rules)
    )


def _others(before: Mapping[str, V], after: Mapping[str, V]) -> Iterator[str]:
    """Keys with another value than before. No byte code for each, of which there are thousands."""
    return compress(after, map(is_not, after.values(), map(before.get, after)))


def _homes(cluster: Cluster) -> dict[ContainerId, tuple[Container, str]]:
    return {one.id: (one, cluster.placed[one.id]) for one in cluster.containers}


def _homes_only(
    cluster: ClusterByNode, other: ClusterByNode, names: list[str]
) -> dict[ContainerId, tuple[Container, str]]:
    """Of the containers that are on these nodes, and not there in the other snapshot."""
    found = {}
    for name in names:
        # By the objects: to compare the names of containers takes many times as long.
        theirs = set(map(id, other.on_node.get(name, ())))
        for container in cluster.on_node.get(name, ()):
            if id(container) not in theirs:
                found[container.id] = container, name
    return found


def _rules(
    before: tuple[Rule, ...], after: tuple[Rule, ...]
) -> tuple[tuple[int, ...], tuple[Rule, ...]]:
    """Numbers of those that are gone, and what follows those that are left."""
    if after[: len(before)] == before:
        return (), after[len(before) :]
    there = set(map(id, after))
    left = tuple(rule for rule in before if id(rule) in there)
    if after[: len(left)] != left:
        return tuple(range(len(before))), after
    gone = tuple(number for number, rule in enumerate(before) if id(rule) not in there)
    return gone, after[len(left) :]
