"""Stretches of time from decisions, and their pictures."""

import xml.etree.ElementTree as ET

from colchis.jobs.timeline import Stretch, as_svg, as_text, stretches
from colchis.wire.jobs import Told


def told(task: str, ago: float, what: str) -> Told:
    return Told(task, ago, what, "because", "e0")


HISTORY = [
    told("b/s0/0", 10, "submitted"),
    told("b/s0/0", 10, "launch attempt 1 on e0"),
    told("b/s0/1", 10, "launch attempt 1 on e0"),
    told("b/s0/1", 7, "suspend attempt 1 on e0"),
    told("b/s0/1", 6, "suspended"),
    told("s/s0/0", 6, "launch attempt 1 on e0"),
    told("s/s0/0", 4, "finished"),
    told("b/s0/1", 4, "resume attempt 1 on e0"),
    told("b/s0/0", 2, "finished"),
]


def kind(task: str) -> str:
    return {"b": "batch", "s": "stream <1>"}[task[0]]


def test_a_suspended_task_keeps_its_slot_and_another_runs_there() -> None:
    assert stretches(HISTORY) == [
        Stretch("b/s0/0", "e0", 0, 0, 8),
        Stretch("b/s0/1", "e0", 1, 0, 4),
        Stretch("b/s0/1", "e0", 1, 4, 6, held=True),
        Stretch("s/s0/0", "e0", 1, 4, 6),
        # It runs still: to the time of the answer.
        Stretch("b/s0/1", "e0", 1, 6, 10),
    ]
    assert stretches([]) == []


def test_tasks_that_were_there_before_are_shown_from_when_they_are_known() -> None:
    history = [
        told("b/s0/0", 10, "adopt attempt 1 on e0"),
        told("b/s0/0", 10, "suspended"),
        told("b/s0/1", 10, "adopt attempt 1 on e0"),
        told("b/s0/1", 6, "finished"),
        told("b/s0/0", 6, "resume attempt 1 on e0"),
    ]
    shown = [one for one in stretches(history) if one.begin < one.end]
    assert [(one.task, one.begin, one.end, one.held) for one in shown] == [
        ("b/s0/0", 0, 4, True),
        ("b/s0/1", 0, 4, False),
        ("b/s0/0", 4, 10, False),
    ]


def test_text() -> None:
    assert as_text(stretches(HISTORY), kind, width=10) == [
        "    e0:0 bbbbbbbb..",
        "    e0:1 bbbbssbbbb",
        "    held     ~~",
        "         b batch, s stream <1>, ~ suspended, . idle; 10.0 s",
    ]
    assert as_text([], kind) == []


def test_svg_is_well_formed_and_has_every_stretch() -> None:
    root = ET.fromstring(as_svg(stretches(HISTORY), kind, "a & b"))
    titles = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 5
    assert "b/s0/1 suspended, 4.000 to 6.000 s" in titles
