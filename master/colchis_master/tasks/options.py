"""The knobs of the task scheduler, with their defaults and units."""

from dataclasses import dataclass

from colchis.errors import InputError


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator may set.

    max_suspensions       a task displaced this often is protected each time it runs again
    protect               for so many seconds
    protect_per_wait      but where it was resumed, for no more than so many times the seconds that
                          it has just been suspended; None: however short that was
    max_suspended_memory  bytes of suspended tasks per node; None: as much as its executors have
    max_wait              a task suspended for longer, in seconds, gets the next slot that falls
                          free on its executor, whatever else waits, and is protected there
    nearly_done           share of its work from which a task is a victim only for want of others
    finish_within         a task expected to end within so many seconds is no victim at all
    restart_after         seconds of suspension after which a task that had worked for less may
                          start again on an idle executor; None: never
    restart_below         and only if it had done less than this share of its work, where known
    static_share          share of the executors that ``static`` sets aside for streams
    window                seconds of heartbeats that pressure is computed from
    """

    max_suspensions: int = 10
    protect: float = 30.0
    protect_per_wait: float | None = None
    max_suspended_memory: int | None = None
    max_wait: float = 300.0
    nearly_done: float = 0.9
    finish_within: float = 0.05
    restart_after: float | None = None
    restart_below: float = 0.5
    static_share: float = 0.5
    window: float = 10.0

    def __post_init__(self) -> None:
        """Raises InputError for a value that makes no sense."""
        for field, wrong, right in (
            ("max_suspensions", self.max_suspensions < 1, "at least 1"),
            ("protect", self.protect < 0, "no less than 0"),
            ("protect_per_wait", (self.protect_per_wait or 0) < 0, "no less than 0"),
            ("max_suspended_memory", (self.max_suspended_memory or 0) < 0, "no less than 0"),
            ("max_wait", self.max_wait <= 0, "more than 0"),
            ("nearly_done", not 0 < self.nearly_done <= 1, "a share above 0, up to 1"),
            ("finish_within", self.finish_within < 0, "no less than 0"),
            ("restart_after", (self.restart_after or 0) < 0, "no less than 0"),
            ("restart_below", not 0 <= self.restart_below <= 1, "a share 0..1"),
            ("static_share", not 0 < self.static_share < 1, "a share between 0 and 1"),
            ("window", self.window <= 0, "more than 0"),
        ):
            if wrong:
                raise InputError.of(f"must be {right}", field=f"options.{field}")


SERVICE = Options(protect_per_wait=0.5)
"""A job service's, where its operator says nothing: streams never wait long for short waits."""
