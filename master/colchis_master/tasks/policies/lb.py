"""`lb`: load balance."""

from colchis_master.tasks.policies.base import Displaces, Policy


class LoadBalance(Policy):
    """Free slots anywhere first; then the executors with the fewest tasks. Preferences are not
    looked at."""

    name = "lb"
    displaces: Displaces = "suspend"
    local = False
