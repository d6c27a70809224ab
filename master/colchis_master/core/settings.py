"""What an operator chooses about the master's decisions."""

from dataclasses import dataclass

from colchis.wire.messages import JobAccess


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Times in seconds.

    ``interval`` lies between rounds of the LRA scheduler; a node that is silent for
    ``suspect_after`` takes nothing new, after ``lost_after`` its containers are placed elsewhere.
    An order that is not carried out is sent again every ``order_again``. ``api`` is the address
    containers are told, ``token`` what they may use it with. Of an app's containers a rolling
    change has at most one, or ``away_share`` of them, away at a time. Above
    ``rebalance_threshold``, a share of the placed containers that miss a rule, moves are made.
    """

    cluster: str = "colchis"
    interval: float = 1.0
    heartbeat_interval: float = 1.0
    suspect_after: float = 5.0
    lost_after: float = 10.0
    order_again: float = 3.0
    retry_round: float = 10.0
    away_share: float = 0.25
    make_room: str = "never"
    rebalance_threshold: float | None = None
    api: str = ""
    token: str = ""
    jobs: JobAccess | None = None
    executors: JobAccess | None = None


TICK = 0.5
"""Seconds within which the core wants a ``Tick``."""

ASLEEP = 2.0
"""A pause between events longer than this is the master's own, not the agents' silence."""

MAX_BATCH_ATTEMPTS = 5
"""So often is a batch container placed anew that could not be launched or was lost."""

ABSENT_BEATS = 3
"""Heartbeats without a container after which it is taken to have ended unseen."""

BACK_OFF_FIRST = 1.0
BACK_OFF_MOST = 60.0


def back_off(failures: int) -> float:
    """Seconds before a container that failed so often in a row is placed again."""
    return 0.0 if failures <= 0 else float(min(BACK_OFF_MOST, BACK_OFF_FIRST * 2 ** (failures - 1)))
