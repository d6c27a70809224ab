"""What processes ask of the kernel."""

import os
import threading

from colchis.jobs.urgency import wake_normally, wake_soon


def test_short_slices_leave_the_niceness_alone() -> None:
    found: list[int] = []

    def nicer() -> None:
        # Niceness is a thread's own on Linux.
        os.setpriority(os.PRIO_PROCESS, 0, 7)
        for change in (wake_soon, wake_normally):
            change()
            found.append(os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=nicer)
    thread.start()
    thread.join()
    assert found == [7, 7]
