"""What processes ask of the kernel."""

import os
import threading
from collections.abc import Callable

from colchis.jobs.urgency import wake_normally, wake_soon


def test_short_slices_leave_the_niceness_alone() -> None:
    found: list[int] = []

    def nicer() -> None:
        # Niceness is a thread's own on Linux.
        os.setpriority(os.PRIO_PROCESS, 0, 7)
        for change in (wake_soon, wake_normally):
            change()
            found.append(os.getpriority(os.PRIO_PROCESS, 0))

    _in_a_thread(nicer)
    assert found == [7, 7]


def test_a_chosen_policy_is_kept() -> None:
    found: list[int] = []

    def batch() -> None:
        # The policy, too, is a thread's own.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        for change in (wake_soon, wake_normally):
            change()
            found.append(os.sched_getscheduler(0))

    _in_a_thread(batch)
    assert found == [os.SCHED_BATCH, os.SCHED_BATCH]


def _in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
