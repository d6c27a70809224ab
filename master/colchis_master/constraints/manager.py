"""The one place that holds every active constraint, the operator's and the apps'.

Rules come into force and leave it while the cluster runs, some by themselves when their lifetime is
over. What they mean for the present placement is kept by the ledger.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from colchis.model.cluster import Container, ContainerId
from colchis.model.constraints import Rule
from colchis.model.plan import Violation
from colchis_master.constraints.counts import EPSILON
from colchis_master.constraints.ledger import Ledger


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """A rule in force; ``until`` is monotonic, None for a rule without a lifetime."""

    rule: Rule
    until: float | None


class ConstraintManager:
    """``ledger`` is told of nodes and containers directly, of rules through this class only."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._active: dict[Active, None] = {}
        self._of_app: dict[str | None, list[Active]] = {}
        self._mortal: dict[Active, None] = {}
        self._known = -1
        self._violations: tuple[Violation, ...] = ()

    @property
    def active(self) -> Collection[Active]:
        """In the order in which they came into force."""
        return self._active.keys()

    def add(self, rule: Rule, now: float, age: float = 0.0) -> Active:
        """Bring a rule into force, which it has been for ``age`` seconds already."""
        active = Active(rule, None if rule.expires is None else now + rule.expires - age)
        self._active[active] = None
        self._of_app.setdefault(rule.app, []).append(active)
        if active.until is not None:
            self._mortal[active] = None
        self.ledger.add_rule(rule)
        return active

    def set_app(self, app: str, rules: Iterable[Rule], now: float, age: float = 0.0) -> None:
        """Replace the rules of an app."""
        for active in self._of_app.pop(app, []):
            self._remove(active)
        for rule in rules:
            self.add(rule, now, age)

    def find(self, label: str, app: str | None = None) -> Active | None:
        """The rule of that name or canonical text, of an app or the operator."""
        for active in self._of_app.get(app, ()):
            if label in (
                active.rule.label,
                str(active.rule.constraint),
            ):
                return active
        return None

    def owners(self, label: str) -> list[str]:
        """Apps that have a rule of that name."""
        return [a.rule.app for a in self.active if a.rule.app and a.rule.label == label]

    def remove(self, label: str, app: str | None = None) -> Rule | None:
        """Take a rule out of force; None where there is none of that name."""
        active = self.find(label, app)
        if active is None:
            return None
        self._remove(active)
        return active.rule

    def expire(self, now: float) -> list[Rule]:
        """Take those out of force whose lifetime is over, and return them."""
        over = [one for one in self._mortal if one.until is not None and one.until <= now]
        for active in over:
            self._remove(active)
        return [active.rule for active in over]

    def _remove(self, active: Active) -> None:
        del self._active[active]
        self._mortal.pop(active, None)
        of_app = self._of_app.get(active.rule.app, [])
        if active in of_app:
            of_app.remove(active)
        self.ledger.remove_rule(active.rule)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule in force."""
        return tuple(active.rule for active in self.active)

    def bearing_on(self, container: Container, node: str) -> list[tuple[Rule, float]]:
        """Rules that have this container as subject, with how far it misses each on ``node``."""
        ledger = self.ledger
        kind = ledger.kind(container)
        here = ledger.home.get(container.id)
        if here == node:
            return [
                (r, ledger.extent(r, kind, node, counted=True)) for r in ledger.bearing(kind)[0]
            ]
        if here is not None:
            # Wherever it is now, the subject itself is never counted.
            ledger.count(kind, here, -1)
        found = [(r, ledger.extent(r, kind, node, counted=False)) for r in ledger.bearing(kind)[0]]
        if here is not None:
            ledger.count(kind, here, 1)
        return found

    def violations(self) -> tuple[Violation, ...]:
        """Every rule that a placed container misses now; worked out again after a change only."""
        ledger = self.ledger
        if self._known != ledger.version:
            found = [
                Violation(rule.label, kind.app, ident, missed)
                for rule, kind, node, missed in ledger.misses()
                for ident, container in ledger.on[node].items()
                if container.app == kind.app and container.tags == kind.tags
            ]
            found.sort(key=lambda one: (one.constraint, _order(one.container)))
            self._violations = tuple(found)
            self._known = ledger.version
        return self._violations

    def count_violations(self) -> int:
        """How many there are."""
        return sum(kind.nodes[node] for _, kind, node, _ in self.ledger.misses())

    def violating(self, app: str) -> Counter[str]:
        """By the name of each rule, how many of an app's containers miss it."""
        ledger = self.ledger
        found: Counter[str] = Counter()
        for kind in ledger.kinds_of(app):
            for rule in ledger.bearing(kind)[0]:
                for node, times in kind.nodes.items():
                    if ledger.extent(rule, kind, node, counted=True) > EPSILON:
                        found[rule.label] += times
        return found


def _order(ident: ContainerId) -> tuple[str, str, int]:
    return ident.app, ident.group, ident.index
