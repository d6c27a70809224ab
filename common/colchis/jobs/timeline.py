"""Who had which slot when, and who was suspended meanwhile: from what the job service told.

``Client.history()`` has the decisions; from them come stretches of time, and from those a picture,
as lines of text or as SVG. Which of an executor's slots a task had is not recorded: it is the one
it had before if that is free, else the first that is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from colchis.wire.jobs import Told

BEGIN = ("launch", "resume", "adopt")
END = ("finished", "failed", "killed", "lost", "cancelled")
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d", "#e45756")
MARKS = "bsxyzw"
HELD = "~"
IDLE = "."
LEFT, WIDTH, ROW, BAR = 70, 900, 34, 20
"""Of the SVG, in pixels: names to the left, width of the time axis, height of rows and bars."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A task ran, or was ``held`` suspended, from ``begin`` to ``end`` seconds."""

    task: str
    executor: str
    slot: int
    begin: float
    end: float
    held: bool = False

    @property
    def row(self) -> str:
        """The slot's name."""
        return f"{self.executor}:{self.slot}"


@dataclass(slots=True)
class _Place:
    """Where a task is now."""

    executor: str
    slot: int
    since: float
    held: bool = False


class _Slots:
    """Follows the decisions, oldest first."""

    def __init__(self) -> None:
        self.found: list[Stretch] = []
        self._places: dict[str, _Place] = {}

    def take(self, told: Told, at: float) -> None:
        word = told.what.split()[0]
        place = self._places.get(told.task)
        if word in BEGIN:
            executor = told.executor or (place.executor if place else "")
            slot = self._slot(executor, place)
            self._close(told.task, at)
            self._places[told.task] = _Place(executor, slot, at)
        elif word == "suspended" and place is not None:
            self._close(told.task, at)
            self._places[told.task] = _Place(place.executor, place.slot, at, held=True)
        elif word in END:
            self._close(told.task, at)

    def close_all(self, at: float) -> None:
        for task in list(self._places):
            self._close(task, at)

    def _close(self, task: str, at: float) -> None:
        place = self._places.pop(task, None)
        if place is not None:
            self.found.append(
                Stretch(task, place.executor, place.slot, place.since, at, place.held)
            )

    def _slot(self, executor: str, place: _Place | None) -> int:
        taken = {
            one.slot for one in self._places.values() if one.executor == executor and not one.held
        }
        if place is not None and place.executor == executor and place.slot not in taken:
            return place.slot
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)


def stretches(history: Iterable[Told]) -> list[Stretch]:
    """What the decisions, oldest first, amount to; 0 is the time of the first."""
    told = list(history)
    slots = _Slots()
    start = told[0].ago if told else 0.0
    for one in told:
        slots.take(one, max(0.0, start - one.ago))
    slots.close_all(start)
    return sorted(slots.found, key=lambda one: (one.begin, one.task))


def as_text(found: Sequence[Stretch], group: Callable[[str], str], *, width: int = 72) -> list[str]:
    """A line per slot, and one below it where tasks were held; ``group`` names a task's kind."""
    if not found:
        return []
    end = max(one.end for one in found)
    marks = dict(zip(_groups(found, group), MARKS, strict=False))
    lines = []
    for row in sorted({one.row for one in found}):
        running, held = [IDLE] * width, [" "] * width
        # Short stretches come last, so that long ones do not hide them.
        for one in sorted(found, key=lambda one: one.begin - one.end):
            if one.row == row:
                first = min(width - 1, int(one.begin / end * width))
                last = max(first + 1, min(width, round(one.end / end * width)))
                mark = HELD if one.held else marks.get(group(one.task), "?")
                (held if one.held else running)[first:last] = mark * (last - first)
        lines.append(f"{row:>8} {''.join(running)}")
        if HELD in held:
            lines.append(f"{'held':>8} {''.join(held).rstrip()}")
    kinds = ", ".join(f"{mark} {name}" for name, mark in marks.items())
    lines.append(f"{'':>8} {kinds}, {HELD} suspended, {IDLE} idle; {end:.1f} s")
    return lines


def as_svg(found: Sequence[Stretch], group: Callable[[str], str], title: str) -> str:
    """The same as a picture: a bar per stretch; suspended ones are thin and pale, below."""
    end = max((one.end for one in found), default=1.0) or 1.0
    rows = sorted({one.row for one in found})
    colours = dict(zip(_groups(found, group), COLOURS, strict=False))
    height = 70 + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for number, row in enumerate(rows):
        parts.append(f'<text x="6" y="{30 + ROW * number + 15}">{escape(row)}</text>')
    for one in found:
        x = LEFT + one.begin / end * WIDTH
        width = max(0.5, (one.end - one.begin) / end * WIDTH)
        y = 30 + ROW * rows.index(one.row) + (BAR + 1 if one.held else 0)
        look = 'opacity="0.45"' if one.held else 'stroke="white" stroke-width="0.3"'
        what = "suspended" if one.held else "running"
        tip = f"{one.task} {what}, {one.begin:.3f} to {one.end:.3f} s"
        parts.append(
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{8 if one.held else BAR}" '
            f'fill="{colours.get(group(one.task), "gray")}" {look}>'
            f"<title>{escape(tip)}</title></rect>"
        )
    below = 30 + ROW * len(rows) + 14
    for tick in range(11):
        x = LEFT + tick / 10 * WIDTH
        parts.append(
            f'<text x="{x:.0f}" y="{below}" text-anchor="middle">{end * tick / 10:.1f}</text>'
        )
    x = LEFT
    for name, colour in colours.items():
        parts.append(f'<rect x="{x}" y="{below + 8}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{below + 18}">{escape(name)}</text>')
        x += 120
    parts.append(f'<text x="{x}" y="{below + 18}">thin and pale: suspended; seconds</text></svg>')
    return "\n".join(parts) + "\n"


def _groups(found: Iterable[Stretch], group: Callable[[str], str]) -> list[str]:
    return list(dict.fromkeys(group(one.task) for one in found))
