"""The task scheduler's core."""

import random

from colchis_master.tasks.events import Event, Instruction
from colchis_master.tasks.options import Options


class TaskScheduler:
    """Takes events, returns instructions; no clock, no randomness, no I/O of its own.

    ``policy`` is one of the names in :data:`colchis_master.tasks.policies.POLICIES`.
    """

    def __init__(self, policy: str, options: Options, rng: random.Random) -> None:
        self.policy, self.options, self.rng = policy, options, rng

    def handle(self, now: float, event: Event) -> list[Instruction]:
        """What to do about ``event`` at ``now`` (seconds, monotonic).

        Raises IllegalTransitionError, with nothing changed, for news that cannot be.
        """
        return []

    def next_wakeup(self) -> float | None:
        """When a Tick is wanted next, if nothing else happens before."""
        return None

    def story(self, task: str) -> tuple[str, ...]:
        """What was decided about the task and why, oldest first."""
        return ()
