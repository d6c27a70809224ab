"""What was decided about each task, and why."""

from collections import OrderedDict, deque

from msgspec import Struct


class Entry(Struct, frozen=True):
    """At ``at`` seconds, because of the event ``cause``, ``what`` happened, for this reason.

    ``executor`` is where the task was then, if anywhere.
    """

    at: float
    cause: str
    what: str
    reason: str
    executor: str = ""

    def __str__(self) -> str:
        return f"{self.at:.3f} [{self.cause}] {self.what}: {self.reason}"


class Story:
    """Entries per task, of the ``tasks`` told of last, the last ``entries`` of each.

    Beside them the ``latest`` entries of all tasks, in their order.
    """

    def __init__(self, tasks: int = 10_000, entries: int = 100, latest: int = 10_000) -> None:
        self._tasks, self._entries = tasks, entries
        self._told: OrderedDict[str, list[Entry]] = OrderedDict()
        self.latest: deque[tuple[str, Entry]] = deque(maxlen=latest)

    def tell(self, task: str, entry: Entry) -> None:
        """Add an entry."""
        entries = self._told.get(task)
        if entries is None:
            entries = self._told[task] = []
            if len(self._told) > self._tasks:
                self._told.popitem(last=False)
        else:
            self._told.move_to_end(task)
        entries.append(entry)
        self.latest.append((task, entry))
        if len(entries) > self._entries:
            del entries[0]

    def of(self, task: str) -> tuple[Entry, ...]:
        """The entries of a task, oldest first; empty where nothing is known of it."""
        return tuple(self._told.get(task, ()))
