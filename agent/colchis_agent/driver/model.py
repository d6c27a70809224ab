"""What a container driver is asked for, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from colchis.errors import ColchisError
from colchis_agent.cgroups import Limits

MEBIBYTE = 1 << 20


class DriverError(ColchisError):
    """A container could not be launched, reached or removed; the message says why."""


@dataclass(frozen=True, slots=True, order=True)
class ContainerRef:
    """One life of a container: ``app/group/index`` and how many lives it had before."""

    container: str
    incarnation: int = 0

    def __str__(self) -> str:
        return f"{self.container}#{self.incarnation}"


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """How to start a container.

    ``env`` is all of its environment but a default PATH, and never leaves files of mode 0600.
    ``cwd`` None is a fresh folder of the container's own. ``uid``/``gid`` None keep the agent's.
    ``delegate`` lets it make sub-groups in its cgroup. Its output is kept in ``log_files`` files of
    ``log_bytes`` each.
    """

    ref: ContainerRef
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    limits: Limits = field(default_factory=Limits)
    uid: int | None = None
    gid: int | None = None
    delegate: bool = False
    log_bytes: int = 10 * MEBIBYTE
    log_files: int = 3


class ExitKind(StrEnum):
    """Why a container is no more.

    ``exited``: by itself. ``signaled``: by a signal. ``oom``: the kernel killed it at its memory
    limit. ``failed``: it could not be started. ``lost``: its supervisor is gone (killed, or the
    host was restarted), so nobody saw how it ended.
    """

    EXITED = "exited"
    SIGNALED = "signaled"
    OOM = "oom"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended; ``ended_at`` is wall-clock seconds since the epoch, for display."""

    kind: ExitKind
    code: int | None = None
    signal: int | None = None
    message: str = ""
    ended_at: float | None = None
    oom_kills: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """It runs, or is being started (``pid`` is None until its main process exists)."""

    pid: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """It ran, or failed to, and is over."""

    exit: Exit


@dataclass(frozen=True, slots=True)
class NeverStarted:
    """Its launch was intended, and nothing was started; ``launch`` again starts it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The driver knows nothing of it: never intended, or discarded."""


ContainerState = Running | Ended | NeverStarted | Gone
