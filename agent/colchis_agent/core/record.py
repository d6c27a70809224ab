"""What an agent must know of a container after its own death, kept on disk."""

from enum import StrEnum

import msgspec

from colchis.wire.messages import Exit, Start
from colchis_agent.core.lifecycle import Phase
from colchis_agent.driver.model import ContainerRef

BACK_OFF_FIRST = 1.0
BACK_OFF_MOST = 60.0
STABLE_SECONDS = 60.0
"""A life this long makes the next failure the first one again."""


class Want(StrEnum):
    """What the master last asked for."""

    RUN = "run"
    SUSPEND = "suspend"
    STOP = "stop"


class Record(msgspec.Struct, kw_only=True):
    """The persistent part of a container.

    ``start`` is the order it was started by, None where it was stopped before it ever came.
    ``life`` numbers its lives on this node, over all incarnations. Incarnations up to ``floor``
    may not start any more. ``last`` is the epoch and number of the last order obeyed.
    ``log_base`` is where the output of the present life begins in the container's, ``log_length``
    its length once it ended, and ``former_base`` where the output of the life before it begins,
    which is kept as well.
    ``settled`` means that the master has confirmed the end.
    """

    container: str
    incarnation: int
    start: Start | None
    phase: Phase
    want: Want = Want.RUN
    life: int = 1
    port: int | None = None
    floor: int = -1
    last: tuple[int, int] = (0, 0)
    grace: float = 0.0
    restarts: int = 0
    failures: int = 0
    started_at: float | None = None
    exit: Exit | None = None
    log_base: int = 0
    log_length: int = 0
    former_base: int | None = None
    successor: Start | None = None
    settled: bool = False

    @property
    def ref(self) -> ContainerRef:
        """The present life, as the driver knows it."""
        return ContainerRef(self.container, self.life)

    @property
    def former(self) -> ContainerRef | None:
        """The life before the present one, if there was any."""
        return ContainerRef(self.container, self.life - 1) if self.life > 1 else None


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 1, 2, 4, … up to a minute."""
    return float(min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** min(max(failures - 1, 0), 16)))


def restarts_after(start: Start, end: Exit) -> bool:
    """Whether the restart policy wants another life after this end."""
    if start.restart == "always":
        return True
    if start.restart == "never":
        return False
    return not (end.kind == "exited" and end.code == 0)
