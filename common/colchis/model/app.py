"""What a user submits."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from colchis.model.cluster import Container, ContainerId
from colchis.model.constraints import Rule
from colchis.model.resources import Resources


class Kind(enum.Enum):
    """``service`` is a long-running application, ``batch`` runs to its end."""

    SERVICE = "service"
    BATCH = "batch"


class Restart(enum.Enum):
    """When a container that ended is started again on its node."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A group of identical containers.

    ``executor`` makes each of them run tasks in slots; ``jobs`` lets them submit jobs.
    """

    name: str
    count: int
    resources: Resources
    tags: frozenset[str] = frozenset()
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    restart: Restart = Restart.ON_FAILURE
    executor: bool = False
    jobs: bool = False


@dataclass(frozen=True, slots=True)
class AppSpec:
    """Groups of containers and the app's rules (each with ``app`` set to this app's name)."""

    name: str
    groups: tuple[GroupSpec, ...]
    kind: Kind = Kind.SERVICE
    rules: tuple[Rule, ...] = ()
    priority: int | None = None

    def containers(self) -> tuple[Container, ...]:
        """Every container of the app, in the order of its groups."""
        return tuple(
            self.container(group, index) for group in self.groups for index in range(group.count)
        )

    def container(self, group: GroupSpec, index: int) -> Container:
        ident = ContainerId(self.name, group.name, index)
        return Container(ident, group.tags | ident.tags(), group.resources)

    def group(self, name: str) -> GroupSpec:
        """Raises KeyError where there is no such group."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)
