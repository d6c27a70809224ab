"""`cl`: cache local."""

from colchis_master.tasks.policies.base import Displaces, Policy
from colchis_master.tasks.records import Stage


class CacheLocal(Policy):
    """A preference is binding: victims on the preferred executor even when another has a free
    slot. Tasks without one go as under ``lb``."""

    name = "cl"
    displaces: Displaces = "suspend"
    binding = True

    def lane(self, stage: Stage, prefer: str | None) -> str:
        return prefer or ""
