"""`static`: executors divided between the classes beforehand."""

from collections.abc import Mapping

from colchis_master.tasks.events import STREAM
from colchis_master.tasks.policies.base import Policy
from colchis_master.tasks.records import Stage

STREAMS = "\0streams"
OTHERS = "\0others"


class Static(Policy):
    """Streams on their share of the executors, all else on the rest; nobody is displaced.

    A class without any executor may use all: one executor cannot be divided.
    """

    name = "static"

    def lane(self, stage: Stage, prefer: str | None) -> str:
        return STREAMS if stage.priority <= STREAM else OTHERS

    def group(self, executors: Mapping[str, int]) -> str:
        streams = executors.get(STREAMS, 0)
        total = streams + executors.get(OTHERS, 0) + 1
        return STREAMS if streams + 1 <= self.options.static_share * total else OTHERS
