"""The one allocator: only what it admits is placed.

A plan's app is admitted whole or not at all, judged by the state as it is now. Single containers
(of batch apps, and members that a service has lost) are placed at once, without a solve. Neither
way is a hard rule missed further than before, by anybody.
"""

from collections.abc import Collection, Sequence

from colchis.model.app import Kind as AppKind
from colchis.model.cluster import Container
from colchis_master.constraints.choice import LOOKS, place_each
from colchis_master.constraints.counts import EPSILON
from colchis_master.core.entries import ContainerEntry
from colchis_master.core.state import State


class Allocator:
    """Places pending containers of ``state``."""

    def __init__(self, state: State) -> None:
        self._state = state

    def admit(self, wanted: Sequence[tuple[ContainerEntry, str]]) -> str:
        """Place all of these, or none and return the reason."""
        reason = self.reserve(wanted)
        if not reason:
            for entry, node in wanted:
                self._state.place(entry, node)
        return reason

    def reserve(
        self, wanted: Sequence[tuple[ContainerEntry, str]], *, drained: bool = False
    ) -> str:
        """Enter all of these into the ledger, or none and return the reason.

        ``drained``: they run there already, so that the node need not take new ones.
        """
        ledger = self._state.ledger
        rules = []
        for kind in {ledger.kind(entry.container) for entry, _ in wanted}:
            for some in ledger.bearing(kind):
                rules += [rule for rule in some if rule.hard and rule not in rules]
        nodes = {node for _, node in wanted if node in ledger.nodes}
        before = ledger.hard_misses(rules, nodes)
        done: list[ContainerEntry] = []
        reason = ""
        for entry, node in wanted:
            if node not in ledger.nodes:
                reason = f"node {node} is gone"
            elif not ledger.fits(entry.container, node, drained=drained):
                reason = f"{entry.id} no longer fits on {node}"
            if reason:
                break
            ledger.add(entry.container, node)
            done.append(entry)
        if not reason:
            # One that is new must miss none at all, even where others like it did before.
            new = {(ledger.kind(entry.container), node) for entry, node in wanted}
            labels = {id(rule): rule.label for rule in rules}
            for (rule, kind, node), extent in ledger.hard_misses(rules, nodes).items():
                was = 0.0 if (kind, node) in new else before.get((rule, kind, node), 0.0)
                if extent > was + EPSILON:
                    reason = f"the hard rule {labels[rule]} would be missed on {node}"
                    break
        if reason:
            for entry in done:
                ledger.remove(entry.id)
        return reason

    def ranked(self, container: Container, avoid: Collection[str]) -> list[tuple[float, str]]:
        """Nodes for a container that is nowhere, those first where the extents grow least.

        Only some nodes with most room are looked at, none of ``avoid``.
        """
        ledger = self._state.ledger
        found: list[tuple[float, str]] = []
        for node in ledger.room(container):
            cost = None if node in avoid else ledger.cost(container, node)
            if cost is not None:
                found.append((cost, node))
                if len(found) >= LOOKS:
                    break
        return sorted(found, key=lambda one: one[0])

    def place_each(self, entries: Sequence[ContainerEntry]) -> None:
        """Place as many of these as possible, one by one; the others keep their reasons."""
        wanted = ((entry.container, self._kept_from(entry)) for entry in entries)
        chosen = place_each(self._state.ledger, wanted)
        for entry, (node, reason) in zip(entries, chosen, strict=True):
            if node is None:
                entry.reasons = (reason,)
            else:
                self._state.place(entry, node)

    def _kept_from(self, entry: ContainerEntry) -> set[str]:
        """Nodes whose room others have a better claim to: those suspended there to make room."""
        if self._state.apps[entry.id.app].spec.kind is not AppKind.BATCH:
            return set()
        return {one.node for one in self._state.displaced if one.node is not None}
