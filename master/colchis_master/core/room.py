"""Room for a service that does not fit: batch containers are stopped for it, and wait again.

As few as possible, and of those the least urgent and the youngest, since they lose least. Until
the service is placed, or the time for it is over, no batch container takes the room that it left.
"""

from colchis.model.app import Kind
from colchis_master.core.containers import Containers
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.lifecycle import HELD, ContainerState
from colchis_master.core.state import State

GRACE = 5.0
PATIENCE = 30.0
"""Seconds for which room that was made is kept."""

DISPLACEABLE = 2
"""Batch apps of this priority, or a less urgent one, may be displaced."""


class Room:
    """Displaces batch containers of ``state`` if its settings allow that."""

    def __init__(self, state: State, containers: Containers) -> None:
        self._state = state
        self._containers = containers
        self._for = ""
        self._until = 0.0

    def kept(self, now: float) -> bool:
        """Whether room is kept for a service that waits for it."""
        app = self._state.apps.get(self._for)
        waits = app is not None and any(
            entry.state is ContainerState.PENDING for entry in app.containers.values()
        )
        if not waits or now >= self._until:
            self._for = ""
        return bool(self._for)

    def make(self, app: AppEntry, now: float) -> None:
        """Stop what has to go so that all waiting containers of ``app`` find a place."""
        if self._state.settings.make_room != "stop" or self.kept(now):
            return
        victims = self._victims(app)
        if not victims:
            return
        self._for, self._until = app.name, now + PATIENCE
        for entry in victims:
            entry.again = True
            text = f"{entry.id} makes room for {app.name}"
            self._state.emit("displaced", text, container=entry)
            self._containers.stop(entry, GRACE)

    def _victims(self, app: AppEntry) -> list[ContainerEntry]:
        """Who has to go; nobody where that would not help."""
        ledger = self._state.ledger
        gone: list[tuple[ContainerEntry, str]] = []
        added: list[ContainerEntry] = []
        enough = True
        for entry in app.containers.values():
            if entry.state is not ContainerState.PENDING:
                continue
            found = self._place(entry)
            if found is None:
                enough = False
                break
            node, victims = found
            for victim in victims:
                ledger.remove(victim.id)
                gone.append((victim, node))
            ledger.add(entry.container, node)
            added.append(entry)
        for entry in added:
            ledger.remove(entry.id)
        for victim, node in gone:
            ledger.add(victim.container, node)
        return [victim for victim, _ in gone] if enough else []

    def _place(self, entry: ContainerEntry) -> tuple[str, list[ContainerEntry]] | None:
        """A node for a container and whom it displaces there: as few as possible."""
        ledger = self._state.ledger
        best: tuple[int, float, str, list[ContainerEntry]] | None = None
        for name, node in ledger.nodes.items():
            if not node.schedulable:
                continue
            victims = self._on(name, entry)
            if victims is None or (best is not None and len(victims) > best[0]):
                continue
            for victim in victims:
                ledger.remove(victim.id)
            cost = ledger.cost(entry.container, name)
            for victim in victims:
                ledger.add(victim.container, name)
            if cost is not None and (best is None or (len(victims), cost) < best[:2]):
                best = (len(victims), cost, name, victims)
        return None if best is None else (best[2], best[3])

    def _on(self, node: str, entry: ContainerEntry) -> list[ContainerEntry] | None:
        ledger = self._state.ledger
        lacking = {
            name: amount - ledger.free(node).get(name, 0)
            for name, amount in entry.container.resources.amounts
        }
        victims: list[ContainerEntry] = []
        for one in sorted(self._state.held.get(node, ()), key=self._worth):
            if all(amount <= 0 for amount in lacking.values()):
                break
            helps = any(lacking.get(name, 0) > 0 for name in one.container.resources.names())
            if helps and one.id in ledger.home and self._may_go(one):
                victims.append(one)
                for name, amount in one.container.resources.amounts:
                    lacking[name] = lacking.get(name, 0) - amount
        return victims if all(amount <= 0 for amount in lacking.values()) else None

    def _may_go(self, entry: ContainerEntry) -> bool:
        spec = self._state.apps[entry.id.app].spec
        return (
            spec.kind is Kind.BATCH
            and (spec.priority is None or spec.priority >= DISPLACEABLE)
            and entry.state in HELD
            and entry.state is not ContainerState.STOPPING
        )

    def _worth(self, entry: ContainerEntry) -> tuple[int, int, float, str]:
        """The least worth first: large before small, so that few have to go."""
        spec = self._state.apps[entry.id.app].spec
        priority = DISPLACEABLE if spec.priority is None else spec.priority
        return (
            -priority,
            -entry.container.resources.millicpus,
            -(entry.running_since or 0.0),
            str(entry.id),
        )
