"""How many containers match an expression in each node set."""

from collections import defaultdict
from dataclasses import dataclass, field

from colchis.model.constraints import TagExpr

EPSILON = 1e-9
"""An extent of less is none."""
ELSEWHERE = ""
"""Stands for the app of a subject that is not the counted container's own."""


@dataclass(eq=False, slots=True)
class Kind:
    """Containers with the same tags in the same app, and how many each node holds."""

    tags: frozenset[str]
    app: str
    nodes: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Watch:
    """Counts of one expression over the sets of one group.

    ``total`` holds for subjects of apps that run nothing that matches; ``own`` is what to add for
    subjects of a given app, where ``self/`` and ``others/`` tell apps apart.
    """

    expr: TagExpr
    group: str
    users: int = 0
    total: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    own: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def count(self, name: str, app: str) -> int:
        return self.total.get(name, 0) + self.own.get((name, app), 0)

    def change(self, names: tuple[str, ...], kind: Kind, by: int) -> None:
        """``by`` more containers of ``kind`` in the sets ``names``."""
        other = self.expr.matches(kind.tags, kind.app, ELSEWHERE)
        same = self.expr.matches(kind.tags, kind.app, kind.app)
        for name in names:
            if other:
                self.total[name] += by
            if same != other:
                key = name, kind.app
                self.own[key] += by if same else -by
                if not self.own[key]:
                    del self.own[key]
