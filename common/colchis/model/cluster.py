"""A cluster at one moment: nodes, groups, what runs, and the rules in force."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from colchis.model.constraints import CLUSTER, NODE, Rule
from colchis.model.resources import Resources

COPIES = 1_000_000
"""Added to a container's index for its copy while it is moved; no group has so many members."""


@dataclass(frozen=True, slots=True)
class ContainerId:
    """``app/group/index``."""

    app: str
    group: str
    index: int

    def __str__(self) -> str:
        return f"{self.app}/{self.group}/{self.index}"

    @classmethod
    def parse(cls, text: str) -> "ContainerId":
        """Raises ValueError, saying what would be right."""
        parts = text.split("/")
        if len(parts) != 3 or not all(parts) or not parts[2].isdecimal():
            raise ValueError(f"{text!r} names no container; write app/group/index")
        return cls(parts[0], parts[1], int(parts[2]))

    def tags(self) -> frozenset[str]:
        """The tags that every container carries by its name."""
        return frozenset((f"app:{self.app}", f"group:{self.group}"))


@dataclass(frozen=True, slots=True)
class Container:
    """A container with its tags (those by its name included) and what it may use."""

    id: ContainerId
    tags: frozenset[str]
    resources: Resources

    @property
    def app(self) -> str:
        return self.id.app

    @classmethod
    def of(cls, name: str, tags: frozenset[str] | set[str], resources: Resources) -> "Container":
        """From ``app/group/index`` and the tags that a spec gives."""
        ident = ContainerId.parse(name)
        return cls(ident, frozenset(tags) | ident.tags(), resources)


@dataclass(frozen=True, slots=True)
class Node:
    """A host with its whole capacity; ``groups`` maps a node group to the sets it is in.

    ``schedulable`` is false while it is drained: what runs there counts, nothing new is placed.
    """

    name: str
    capacity: Resources
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    schedulable: bool = True

    def sets_of(self, group: str) -> tuple[str, ...]:
        """The sets of ``group`` that hold this node; ``node`` and ``cluster`` are predefined."""
        if group == NODE:
            return (self.name,)
        if group == CLUSTER:
            return (CLUSTER,)
        return self.groups.get(group, ())


@dataclass(frozen=True)
class Cluster:
    """An immutable snapshot; ``placed`` maps each running container to its node's name."""

    nodes: tuple[Node, ...] = ()
    containers: tuple[Container, ...] = ()
    placed: Mapping[ContainerId, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    @cached_property
    def node(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def on_node(self) -> Mapping[str, tuple[Container, ...]]:
        """What runs on each node; every node has an entry."""
        held: dict[str, list[Container]] = {node.name: [] for node in self.nodes}
        for container in self.containers:
            held[self.placed[container.id]].append(container)
        return {name: tuple(containers) for name, containers in held.items()}

    @cached_property
    def free(self) -> Mapping[str, Resources]:
        """What is left of each node's capacity; negative amounts where it is overfilled."""
        return {
            node.name: node.capacity
            - sum((c.resources for c in self.on_node[node.name]), Resources())
            for node in self.nodes
        }

    @cached_property
    def members(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Node group → set → names of its nodes, for every group that any node is in."""
        groups: dict[str, dict[str, list[str]]] = {NODE: {}, CLUSTER: {}}
        for node in self.nodes:
            for group in (NODE, CLUSTER, *node.groups):
                for name in node.sets_of(group):
                    groups.setdefault(group, {}).setdefault(name, []).append(node.name)
        return {g: {s: tuple(names) for s, names in sets.items()} for g, sets in groups.items()}


class ClusterByNode(Cluster):
    """The same, made of what each node holds: the rest is worked out when it is asked for.

    Two snapshots share what no change lies between, so that one costs little to take and two
    little to compare.
    """

    def __init__(
        self,
        node: Mapping[str, Node],
        on_node: Mapping[str, tuple[Container, ...]],
        rules: tuple[Rule, ...],
    ) -> None:
        vars(self).update(node=node, on_node=on_node, rules=rules)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self.node.values())

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        return tuple(container for held in self.on_node.values() for container in held)

    @cached_property
    def placed(self) -> Mapping[ContainerId, str]:
        return {one.id: name for name, held in self.on_node.items() for one in held}
