"""What a policy decides; everything else is the scheduler's.

The scheduler keeps the queue, the free slots and the possible victims in order of the keys given
here, least first, and asks for a key again whenever something that it may depend on has changed.
"""

import random
from collections.abc import Mapping
from typing import Literal

from colchis_master.tasks.options import Options
from colchis_master.tasks.ranking import Key
from colchis_master.tasks.records import Executor, Stage, Task

Displaces = Literal["suspend", "kill"] | None


class Policy:
    """First come first served within a priority, balanced load, nobody displaced.

    ``displaces``: how victims are displaced, None for never. ``local``: whether preferences are
    honoured where a free slot or a victim allows; ``binding``: whether they bind.
    ``dynamic``: whether the queue's order depends on the slots that jobs hold.
    """

    name = ""
    displaces: Displaces = None
    local = True
    binding = False
    dynamic = False

    def __init__(self, options: Options, rng: random.Random) -> None:
        self.options, self.rng = options, rng

    def order(self, stage: Stage) -> Key:
        """The stage's place in the queue; equal keys by age."""
        return (stage.priority, stage.seq)

    def lane(self, stage: Stage, prefer: str | None) -> str:
        """The executor, node or group a task is bound to, "" for none.

        As long as the lane has no executor at all, its tasks may go anywhere.
        """
        return ""

    def group(self, executors: Mapping[str, int]) -> str:
        """The group of a new executor, given how many there are in each."""
        return ""

    def free_key(self, executor: Executor) -> Key:
        """Which free slot is used first."""
        return (-executor.free, executor.load)

    def victim_key(self, executor: Executor, task: Task) -> Key:
        """Which of the tasks of one priority is displaced first."""
        return (executor.load, task.memory, task.displaced, -task.seq)
