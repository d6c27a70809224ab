"""Rules over node groups that no node is in: legal, for such a node may come, but often a slip."""

from collections.abc import Collection, Iterable

from colchis.model.constraints import CLUSTER, NODE, Constraint


def known_groups(groups_of_nodes: Iterable[Collection[str]]) -> frozenset[str]:
    """The node groups there are, by those of each node; none where there are no nodes, of which
    nothing can be said yet."""
    found = list(groups_of_nodes)
    return frozenset({NODE, CLUSTER}.union(*found)) if found else frozenset()


def unknown_groups(
    rules: Iterable[tuple[str, Constraint]], known: Collection[str]
) -> tuple[str, ...]:
    """A sentence for each rule, by its label, and each node group it names that is not ``known``;
    none where nothing is known."""
    if not known:
        return ()
    there = ", ".join(sorted(known))
    found = (
        f"{label}: no node has a group of type {group!r}; known: {there}"
        for label, constraint in rules
        for group in dict.fromkeys(atom.group for atom in constraint.atoms())
        if group not in known
    )
    return tuple(dict.fromkeys(found))
