"""Groups of processes that are limited, measured, frozen and killed together.

``open_tree`` gives an agent its tree, ``open_own_tree`` gives one to an executor inside its
container. cgroup v1, v2 and hosts without either are behind the one interface, ``CgroupTree``.
"""

from colchis_agent.cgroups.base import CgroupError, CgroupTree, Limits, Usage, join
from colchis_agent.cgroups.detect import open_own_tree, open_tree
from colchis_agent.cgroups.none import NoCgroups
from colchis_agent.cgroups.pressure import Pressure, Stall, read_pressure
from colchis_agent.cgroups.v1 import V1Tree
from colchis_agent.cgroups.v2 import V2Tree

__all__ = [
    "CgroupError",
    "CgroupTree",
    "Limits",
    "NoCgroups",
    "Pressure",
    "Stall",
    "Usage",
    "V1Tree",
    "V2Tree",
    "join",
    "open_own_tree",
    "open_tree",
    "read_pressure",
]
