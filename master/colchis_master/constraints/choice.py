"""Containers placed one by one, without a solve.

Each goes to the first node where nothing is missed, else where the weighted extents grow least, and
never where a hard rule would be missed further than before, by anybody.
"""

from collections.abc import Collection, Iterable, Iterator

from colchis.model.cluster import Container
from colchis.model.resources import Resources
from colchis_master.constraints.counts import EPSILON, Kind
from colchis_master.constraints.ledger import Ledger

LOOKS = 32
"""Nodes whose extents are compared where none is without a miss."""


def place_each(
    ledger: Ledger, wanted: Iterable[tuple[Container, Collection[str]]]
) -> Iterator[tuple[str | None, str]]:
    """Enter as many of these into the ledger as possible, each on none of the nodes beside it;
    yields each one's node, or None and the reason."""
    failed: dict[tuple[Kind | None, Resources], str] = {}
    for container, avoid in wanted:
        need = container.resources
        key = (ledger.kind(container), need)
        known = failed.get((None, need)) or failed.get(key)
        if known is not None:
            yield None, known
            continue
        node, reason = choose(ledger, container, avoid)
        if node is None:
            if next(ledger.room(container), None) is None:
                # Whatever else needs as much finds none either, for placing frees nothing.
                failed[None, need] = reason
            failed[key] = reason
        else:
            ledger.add(container, node)
        yield node, reason


def choose(
    ledger: Ledger, container: Container, avoid: Collection[str] = ()
) -> tuple[str | None, str]:
    """A node for a container that is nowhere, none of ``avoid``, or None and the reason."""
    best: str | None = None
    least = 0.0
    forbidden = looked = avoided = 0
    for node in ledger.room(container):
        if node in avoid:
            avoided += 1
            continue
        cost = ledger.cost(container, node)
        if cost is None:
            forbidden += 1
            continue
        if cost <= EPSILON:
            return node, ""
        looked += 1
        if best is None or cost < least:
            best, least = node, cost
        if looked >= LOOKS:
            break
    if best is not None:
        return best, ""
    if forbidden:
        return None, f"{_nodes(forbidden)} with room, but a hard rule would be missed there"
    if avoided:
        return None, f"{_nodes(avoided)} with room, but suspended containers wait for it there"
    return None, _no_room(ledger, container)


def _no_room(ledger: Ledger, container: Container) -> str:
    open_nodes = sum(node.schedulable for node in ledger.nodes.values())
    if not open_nodes:
        return "no node is ready to take containers"
    parts: list[str] = []
    for name, amount in container.resources.amounts:
        most = ledger.most_free(name)
        if amount > most:
            need = type(container.resources).from_amounts({name: amount})
            parts += need.shortages(type(need).from_amounts({name: most}))
    short = ", ".join(parts) or "what it needs is nowhere free together"
    return f"{_nodes(open_nodes)}: {short}"


def counted(reasons: Iterable[str]) -> tuple[str, ...]:
    """The reasons of containers, each once, with how many have it."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return tuple(
        f"{count} container{'' if count == 1 else 's'}: {reason}"
        for reason, count in counts.items()
    )


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
