"""Reports of changes, sent again until the master has confirmed them."""

from collections.abc import Iterator

from colchis.wire.messages import ContainerReport, Report

MOST_PER_CONTAINER = 20
"""While the master is away, older reports of a container than this many are superseded."""


class Outbox:
    """Numbered reports of one session. ``resend_after`` is in seconds."""

    def __init__(self, session: str, resend_after: float) -> None:
        self._session = session
        self._resend_after = resend_after
        self._seq = 0
        self._waiting: dict[int, Report] = {}
        self._due: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, report: ContainerReport, now: float) -> Report:
        """Number a report and keep it."""
        same = [
            seq for seq, old in self._waiting.items() if old.report.container == report.container
        ]
        for seq in same[: max(0, len(same) + 1 - MOST_PER_CONTAINER)]:
            del self._waiting[seq]
        self._seq += 1
        numbered = Report(self._session, self._seq, report)
        self._waiting[self._seq] = numbered
        if self._due is None:
            self._due = now + self._resend_after
        return numbered

    def confirm(self, seq: int) -> list[ContainerReport]:
        """Drop all reports up to ``seq`` and return them."""
        done = [number for number in self._waiting if number <= seq]
        reports = [self._waiting.pop(number).report for number in done]
        if not self._waiting:
            self._due = None
        return reports

    def due(self, now: float) -> bool:
        """Whether reports have waited long enough to be sent again."""
        return self._due is not None and now >= self._due

    def again(self, now: float) -> Iterator[Report]:
        """All waiting reports in order; they are due again later."""
        if self._waiting:
            self._due = now + self._resend_after
        yield from list(self._waiting.values())

    @property
    def deadline(self) -> float | None:
        """When ``due`` becomes true."""
        return self._due
