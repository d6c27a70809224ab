"""What processes ask of the kernel: to be woken soon, and to end with their parent."""

import ctypes
import os
import platform
import signal
import struct

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_SIZE = 48
_PR_SET_PDEATHSIG = 1


def wake_soon(slice_us: int = 100) -> bool:
    """Ask the kernel for a short time slice for the calling thread (and what it forks later).

    Since Linux 6.12 the fair scheduler (EEVDF) takes a slice per thread from ``sched_runtime``; a
    waking thread with a short slice has an early deadline and preempts one with a long slice.
    Without that it may wait for several milliseconds behind busy ones. Returns whether the kernel
    took it; older ones leave everything as it was. So does a policy other than SCHED_OTHER, which
    somebody chose for this process.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = struct.pack("IIQiIQQQ", _SIZE, 0, 0, nice, 0, slice_us * 1000, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(number, 0, attributes, 0) == 0)


def wake_normally() -> bool:
    """Undo :func:`wake_soon` for the calling thread."""
    return wake_soon(0)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent``, its parent, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
