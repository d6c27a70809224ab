"""`random`: victims at random."""

from colchis_master.tasks.policies.base import Displaces, Policy
from colchis_master.tasks.ranking import Key
from colchis_master.tasks.records import Executor, Task


class RandomVictims(Policy):
    """Free slots first, then victims drawn by lot; the yardstick for the choice of victims.

    Whatever touches an executor draws its lot again.
    """

    name = "random"
    displaces: Displaces = "suspend"

    def victim_key(self, executor: Executor, task: Task) -> Key:
        return (self.rng.random(),)
