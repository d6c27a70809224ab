"""The policies by name."""

import random

from colchis.errors import InputError
from colchis_master.tasks.options import Options
from colchis_master.tasks.policies.base import Policy
from colchis_master.tasks.policies.cl import CacheLocal
from colchis_master.tasks.policies.fair import Fair
from colchis_master.tasks.policies.fifo import Fifo
from colchis_master.tasks.policies.kill import KillVictims
from colchis_master.tasks.policies.lb import LoadBalance
from colchis_master.tasks.policies.lma import LocalityMemoryAware
from colchis_master.tasks.policies.random_victims import RandomVictims
from colchis_master.tasks.policies.static import Static

DEFAULT = LocalityMemoryAware.name

POLICIES: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (
        Static,
        Fifo,
        Fair,
        KillVictims,
        RandomVictims,
        LoadBalance,
        CacheLocal,
        LocalityMemoryAware,
    )
}


def make_policy(name: str, options: Options, rng: random.Random) -> Policy:
    """The policy of that name. Raises InputError, listing the names, for any other."""
    if name not in POLICIES:
        raise InputError.of(
            f"no policy {name!r}; known are {', '.join(sorted(POLICIES))}", field="policy"
        )
    return POLICIES[name](options, rng)
