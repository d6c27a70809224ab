"""Room for a service that does not fit: batch containers are displaced for it, and come back.

A suspended container keeps its memory, so that only its cores are gained; where the operator
allows it and that is not enough, containers are stopped and wait to be placed again. As few as
possible have to go, and of those that will do the least urgent and the youngest, since they lose
least. Until the service is placed, or the time for it is over, no batch container takes the room
that they left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from colchis.model.app import Kind
from colchis.model.resources import CPUS
from colchis_master.core.containers import Containers
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.lifecycle import HELD, ContainerState
from colchis_master.core.state import State

GRACE = 5.0
PATIENCE = 30.0
"""Seconds for which room that was made is kept."""

DISPLACEABLE = 2
"""Batch apps of this priority, or a less urgent one, may be displaced."""

FEW = 16
"""Candidates on a node among which all pairs are looked at."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How containers are displaced: ``stop`` gains all that they use, else only their cores."""

    stop: bool
    now: float


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
        """Displace what has to go so that all waiting containers of ``app`` find a place."""
        allowed = self._state.settings.make_room
        if allowed == "never" or self.kept(now):
            return
        for stop in (False, True) if allowed == "stop" else (False,):
            with self._state.ledger.trial():
                victims = self._victims(app, _Way(stop, now))
            if victims:
                break
        else:
            return
        self._for, self._until = app.name, now + PATIENCE
        for entry in victims:
            text = f"{entry.name} makes room for {app.name}"
            self._state.emit("displaced", text, container=entry)
            if stop:
                entry.again = True
                self._containers.stop(entry, GRACE)
            else:
                entry.note = f"suspended to make room for {app.name}"
                self._state.displace(entry)

    def follow(self) -> None:
        """Give up the cores of those that are suspended by now, and only of those."""
        for entry in self._state.displaced:
            if entry.state is ContainerState.SUSPENDED and not entry.released:
                self._state.release(entry)

    def tick(self, now: float) -> None:
        """Resume those whose cores are free again, the most urgent and the oldest first."""
        if self.kept(now):
            return
        for entry in sorted(self._state.displaced, key=self._worth, reverse=True):
            if self._state.take_back(entry):
                entry.note = ""
                self._state.emit("displaced", f"{entry.name} goes on", container=entry)

    def _victims(self, app: AppEntry, way: _Way) -> list[ContainerEntry]:
        """Who has to go; nobody where that would not help."""
        ledger = self._state.ledger
        gone: list[ContainerEntry] = []
        added: list[ContainerEntry] = []
        enough = True
        for entry in app.containers.values():
            if entry.state is not ContainerState.PENDING:
                continue
            found = self._place(entry, way)
            if found is None:
                enough = False
                break
            node, victims = found
            for victim in victims:
                self._take_away(victim, way)
            gone += victims
            ledger.add(entry.container, node)
            added.append(entry)
        for entry in added:
            ledger.remove(entry.id)
        for victim in gone:
            self._put_back(victim)
        return gone if enough else []

    def _take_away(self, victim: ContainerEntry, way: _Way) -> None:
        self._state.ledger.remove(victim.id)
        if not way.stop:
            self._state.ledger.add(victim.without_cores(), victim.node or "")

    def _put_back(self, victim: ContainerEntry) -> None:
        self._state.ledger.remove(victim.id)
        self._state.ledger.add(victim.charged(), victim.node or "")

    def _place(self, entry: ContainerEntry, way: _Way) -> tuple[str, list[ContainerEntry]] | None:
        """A node for a container and whom it displaces there: as few as possible."""
        ledger = self._state.ledger
        best: tuple[tuple[float, ...], str, list[ContainerEntry]] | None = None
        for name, node in ledger.nodes.items():
            most = len(best[2]) if best is not None else None
            victims = self._on(name, entry, way, most) if node.schedulable else None
            if victims is None:
                continue
            for victim in victims:
                self._take_away(victim, way)
            cost = ledger.cost(entry.container, name)
            for victim in victims:
                self._put_back(victim)
            if cost is None:
                continue
            key = (float(len(victims)), self._loss(victims, way), cost)
            if best is None or key < best[0]:
                best = (key, name, victims)
        return None if best is None else best[1:]

    def _on(
        self, node: str, entry: ContainerEntry, way: _Way, most: int | None
    ) -> list[ContainerEntry] | None:
        """The fewest on a node, no more than ``most``, whose room would do for a container."""
        free = self._state.ledger.free(node)
        lacking = {
            name: amount - free.get(name, 0)
            for name, amount in entry.container.resources.amounts
            if amount > free.get(name, 0)
        }
        if not lacking:
            return []
        if not way.stop and lacking.keys() != {CPUS}:
            return None
        useful = [one for one in self._candidates(node, way) if _gain(one, lacking)]
        useful.sort(key=self._worth)
        if not _enough(useful, lacking):
            return None
        for count in (1, 2):
            if most is not None and count > most:
                return None
            among = useful if count == 1 else useful[:FEW]
            sets = [list(some) for some in combinations(among, count) if _enough(some, lacking)]
            if sets:
                return min(sets, key=lambda some: self._loss(some, way))
        return _needed(useful, lacking)

    def _candidates(self, node: str, way: _Way) -> Iterator[ContainerEntry]:
        for entry in self._state.held.get(node, ()):
            spec = self._state.apps[entry.id.app].spec
            if (
                spec.kind is Kind.BATCH
                and (spec.priority is None or spec.priority >= DISPLACEABLE)
                and not entry.displaced
                and (
                    entry.state in HELD and entry.state is not ContainerState.STOPPING
                    if way.stop
                    else entry.state is ContainerState.RUNNING and not entry.group.executor
                )
            ):
                yield entry

    def _priority(self, entry: ContainerEntry) -> int:
        priority = self._state.apps[entry.id.app].spec.priority
        return DISPLACEABLE if priority is None else priority

    def _loss(self, victims: Sequence[ContainerEntry], way: _Way) -> float:
        """What displacing them costs: urgency first, then the seconds of work that are lost."""
        urgency = sum(1.0 / self._priority(victim) for victim in victims)
        lost = sum(way.now - (v.running_since or way.now) for v in victims) if way.stop else 0.0
        return urgency * 1e9 + lost

    def _worth(self, entry: ContainerEntry) -> tuple[int, float, str]:
        """The least worth first: least urgent, then youngest."""
        return -self._priority(entry), -(entry.running_since or 0.0), str(entry.id)


def _gain(entry: ContainerEntry, lacking: dict[str, int]) -> bool:
    return any(name in lacking and amount for name, amount in entry.container.resources.amounts)


def _enough(victims: Sequence[ContainerEntry], lacking: dict[str, int]) -> bool:
    return all(
        sum(victim.container.resources.by_name.get(name, 0) for victim in victims) >= amount
        for name, amount in lacking.items()
    )


def _needed(useful: list[ContainerEntry], lacking: dict[str, int]) -> list[ContainerEntry]:
    """A set that is enough and of which nobody could stay: the most useful, then who is needed."""

    def share(entry: ContainerEntry) -> float:
        amounts = entry.container.resources.by_name
        return sum(min(1.0, amounts.get(name, 0) / amount) for name, amount in lacking.items())

    chosen: list[ContainerEntry] = []
    for entry in sorted(useful, key=share, reverse=True):
        if _enough(chosen, lacking):
            break
        chosen.append(entry)
    for entry in list(chosen):
        others = [one for one in chosen if one is not entry]
        if _enough(others, lacking):
            chosen = others
    return chosen
