"""Being told to stop, by signals."""

import os
import select
import signal
from types import FrameType, TracebackType


class Stopping:
    """From the beginning of the block on these signals only set ``told``.

    For the main thread. A ``threading.Event`` would not do: a handler runs in between two steps of
    the main thread, and one that sets the event while that thread is inside ``wait`` would wait
    for ever for the event's lock.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.told = False
        self._signals = signals

    def __enter__(self) -> "Stopping":
        self._wake, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._former_bell = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        self._former = [(one, signal.signal(one, self._tell)) for one in self._signals]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former:
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_bell)
        os.close(self._bell)
        os.close(self._wake)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long to be told to stop; whether that has happened."""
        if not self.told:
            select.select([self._wake], [], [], seconds)
        return self.told

    def _tell(self, _number: int, _frame: FrameType | None) -> None:
        self.told = True
