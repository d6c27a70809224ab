"""What a scheduler returns. A plan changes nothing by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from colchis.model.cluster import ContainerId


@dataclass(frozen=True, slots=True)
class Violation:
    """A container that misses a rule; ``app`` is the container's app."""

    constraint: str
    app: str
    container: ContainerId
    extent: float


@dataclass(frozen=True, slots=True)
class AppPlan:
    """Where an app's containers go: all of them, or none and the reasons.

    Of an app that runs already some may go somewhere, with the reasons of the others.
    """

    app: str
    placed: bool
    assignments: Mapping[ContainerId, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    never: bool = False
    """Whether no state of these nodes could ever hold it."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the plan comes to.

    ``containers`` and ``placed`` count those of the apps asked for; ``subjects``, ``violating``,
    ``extent`` (the plain sum of the violations' extents) and ``nodes_used`` (nodes that hold any
    container) speak of the whole cluster after it."""

    containers: int
    placed: int
    subjects: int
    violating: int
    extent: float
    nodes_used: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Assignments, what they miss, and how good they are.

    ``gap`` is the relative distance to the proven bound in the mode used, None where the algorithm
    knows none. ``objective`` is the weighted sum whatever the mode. ``seconds`` is wall time.
    """

    algorithm: str
    mode: str
    apps: tuple[AppPlan, ...]
    violations: tuple[Violation, ...]
    totals: Totals
    objective: float
    optimal: bool = False
    gap: float | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_contract(self) -> dict[str, Any]:
        """The JSON that ``colchis plan -o json`` prints."""
        return {
            "algorithm": self.algorithm,
            "mode": self.mode,
            "optimal": self.optimal,
            "gap": self.gap,
            "objective": self.objective,
            "seconds": self.seconds,
            "apps": [
                {
                    "app": app.app,
                    "placed": app.placed,
                    "reasons": list(app.reasons),
                    "containers": [
                        {"container": str(container), "node": node}
                        for container, node in app.assignments.items()
                    ],
                }
                for app in self.apps
            ],
            "violations": [
                {
                    "constraint": violation.constraint,
                    "app": violation.app,
                    "container": str(violation.container),
                    "extent": violation.extent,
                }
                for violation in self.violations
            ],
            "totals": {
                "containers": self.totals.containers,
                "placed": self.totals.placed,
                "subjects": self.totals.subjects,
                "violating": self.totals.violating,
                "extent": self.totals.extent,
                "nodes_used": self.totals.nodes_used,
            },
            "notes": list(self.notes),
        }
