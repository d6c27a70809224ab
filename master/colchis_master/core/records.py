"""What the journal keeps: each record replaces an earlier one with the same kind and key."""

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from colchis.wire.messages import Exit

Place: TypeAlias = Literal["pending", "placed", "stopping", "ended"]


class AppRecord(Struct, frozen=True, tag="app"):
    """``specs`` by revision holds the present one and those that containers still run by.

    ``submitted_at`` is wall-clock time, and so is ``rules_since``, from when on lifetimes of rules
    count; ``grace`` that of a stop that is under way, None for none; ``refused`` has the reasons
    of an app that can never fit.
    """

    app: str
    revision: int
    specs: dict[int, Any]
    submitted_at: float
    grace: float | None = None
    refused: list[str] = []
    rules_since: float | None = None

    @property
    def key(self) -> str:
        return f"app {self.app}"


class ContainerRecord(Struct, frozen=True, tag="container"):
    """Where a container was put and what is wanted of it; ``released``: without its cores."""

    container: str
    revision: int
    incarnation: int = 0
    place: Place = "pending"
    node: str | None = None
    suspended: bool = False
    released: bool = False
    again: bool = False
    grace: float = 0.0
    failures: int = 0
    exit: Exit | None = None

    @property
    def key(self) -> str:
        return f"container {self.container}"


class NodeRecord(Struct, frozen=True, tag="node"):
    """What a node's agent said of it, and whether it is drained."""

    node: str
    address: str
    capacity: dict[str, int]
    attributes: dict[str, str]
    groups: dict[str, list[str]]
    unenforced: list[str]
    drained: bool = False
    forgotten: bool = False

    @property
    def key(self) -> str:
        return f"node {self.node}"


class RuleRecord(Struct, frozen=True, tag="rule"):
    """An operator's rule in plain form; ``since`` is wall-clock time."""

    label: str
    rule: Any
    since: float

    @property
    def key(self) -> str:
        return f"rule {self.label}"


class Forgotten(Struct, frozen=True, tag="forgotten"):
    """The record with this key holds no longer."""

    key: str


Record: TypeAlias = AppRecord | ContainerRecord | NodeRecord | RuleRecord | Forgotten
