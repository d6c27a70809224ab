"""`kill`: preemption without suspension."""

from colchis_master.tasks.policies.base import Displaces
from colchis_master.tasks.policies.lma import LocalityMemoryAware


class KillVictims(LocalityMemoryAware):
    """As ``lma``, but victims are killed and start again from nothing."""

    name = "kill"
    displaces: Displaces = "kill"
