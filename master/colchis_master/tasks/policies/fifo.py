"""`fifo`: first come, first served whatever the priority."""

from colchis_master.tasks.policies.base import Policy
from colchis_master.tasks.ranking import Key
from colchis_master.tasks.records import Stage


class Fifo(Policy):
    """By the age of the job, then of the stage; nobody is displaced."""

    name = "fifo"

    def order(self, stage: Stage) -> Key:
        return (stage.job.seq, stage.seq)
