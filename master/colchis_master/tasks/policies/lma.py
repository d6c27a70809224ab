"""`lma`: locality- and memory-aware, the default."""

from colchis_master.tasks.policies.base import Displaces, Policy
from colchis_master.tasks.ranking import Key
from colchis_master.tasks.records import Executor, Task


class LocalityMemoryAware(Policy):
    """Preferences first; other tasks to free slots, and where none are left to executors in order
    of real-time pressure, least first, ties by load (Neptune, LMA policy).

    Executors without a free slot are equally loaded as far as slots go; among them the victim that
    holds least memory and was displaced least decides before the tasks that an executor holds
    suspended.
    """

    name = "lma"
    displaces: Displaces = "suspend"

    def free_key(self, executor: Executor) -> Key:
        used = len(executor.holding) / executor.cores
        return (executor.pressure.bucketed, used, executor.load)

    def victim_key(self, executor: Executor, task: Task) -> Key:
        used = len(executor.holding) / executor.cores
        return (
            executor.pressure.bucketed,
            used,
            task.memory,
            task.displaced,
            executor.load,
            -task.seq,
        )
