"""The constraint language as values (Medea, section 4: subject, tag constraint, node group).

The meaning of these values is in ``colchis.semantics``; reading them from text in
``colchis.model.parse``.
"""

import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass

NODE = "node"
CLUSTER = "cluster"


class Scope(enum.Enum):
    """Whose containers a tag counts."""

    ANY = "any"
    SELF = "self"
    OTHERS = "others"
    APP = "app"


@dataclass(frozen=True, slots=True)
class TagRef:
    """A tag, counted in the apps that ``scope`` names; ``app`` is set for ``Scope.APP`` only."""

    tag: str
    scope: Scope = Scope.ANY
    app: str = ""

    def __str__(self) -> str:
        match self.scope:
            case Scope.ANY:
                return self.tag
            case Scope.APP:
                return f"app/{self.app}/{self.tag}"
            case _:
                return f"{self.scope.value}/{self.tag}"

    def matches(self, tags: Collection[str], app: str, subject_app: str) -> bool:
        """Whether a container of ``app`` with ``tags`` counts for a subject of ``subject_app``."""
        if self.tag not in tags:
            return False
        match self.scope:
            case Scope.ANY:
                return True
            case Scope.SELF:
                return app == subject_app
            case Scope.OTHERS:
                return app != subject_app
            case Scope.APP:
                return app == self.app


@dataclass(frozen=True, slots=True)
class TagExpr:
    """A conjunction of tags, all to be found on one container."""

    refs: tuple[TagRef, ...]

    def __str__(self) -> str:
        return " & ".join(str(ref) for ref in self.refs)

    def matches(self, tags: Collection[str], app: str, subject_app: str) -> bool:
        return all(ref.matches(tags, app, subject_app) for ref in self.refs)


@dataclass(frozen=True, slots=True)
class Target:
    """How many other containers that match ``expr`` a node set may hold; ``maximum`` None is ∞."""

    expr: TagExpr
    minimum: int
    maximum: int | None

    def __str__(self) -> str:
        high = "inf" if self.maximum is None else str(self.maximum)
        return f"{{{self.expr}, {self.minimum}, {high}}}"

    def extent(self, count: int) -> float:
        """How far ``count`` misses the bounds, relative to them; 0 where it keeps them."""
        extent = 0.0
        if count < self.minimum:
            extent += (self.minimum - count) / self.minimum
        if self.maximum is not None and count > self.maximum:
            extent += (count - self.maximum) / max(1, self.maximum)
        return extent


@dataclass(frozen=True, slots=True)
class Atom:
    """One ``{subject, targets, group}``; the targets speak of one and the same node set."""

    subject: TagExpr
    targets: tuple[Target, ...]
    group: str

    def __str__(self) -> str:
        targets = " & ".join(str(target) for target in self.targets)
        return f"{{{self.subject}, {targets}, {self.group}}}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """Disjunctive normal form: any of ``alternatives``, each a conjunction of atoms."""

    alternatives: tuple[tuple[Atom, ...], ...]

    def __str__(self) -> str:
        return " | ".join(" & ".join(str(atom) for atom in all_of) for all_of in self.alternatives)

    def atoms(self) -> Iterator[Atom]:
        for all_of in self.alternatives:
            yield from all_of


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint in force, with whose it is.

    ``app`` is the app whose containers are its subjects, None for the operator's. ``expires`` is
    the lifetime in seconds from when the rule came into force, None for none.
    """

    constraint: Constraint
    name: str = ""
    app: str | None = None
    weight: float = 1.0
    hard: bool = False
    expires: float | None = None

    @property
    def label(self) -> str:
        """Its name, or the canonical text of its constraint where it has none."""
        return self.name or str(self.constraint)

    def has_subject(self, tags: Collection[str], app: str) -> bool:
        """Whether a container of ``app`` with ``tags`` is a subject of any atom of this rule."""
        if self.app is not None and app != self.app:
            return False
        return any(atom.subject.matches(tags, app, app) for atom in self.constraint.atoms())
