"""`fair`: slots shared between jobs by weight."""

from colchis_master.tasks.policies.base import Policy
from colchis_master.tasks.ranking import Key
from colchis_master.tasks.records import Stage


class Fair(Policy):
    """The job with the fewest slots for its weight is served first; nobody is displaced."""

    name = "fair"
    dynamic = True

    def order(self, stage: Stage) -> Key:
        return (stage.job.held / stage.job.weight, stage.job.seq, stage.seq)
