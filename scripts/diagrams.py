"""Draws the state diagrams of docs/states.md from the transition tables that the code runs on."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from colchis_agent.core.lifecycle import TRANSITIONS as ON_AGENT
from colchis_agent.executor.lifecycle import TRANSITIONS as ATTEMPT
from colchis_master.core.lifecycle import CONTAINER, NODE
from colchis_master.tasks.lifecycle import TRANSITIONS as TASK

TARGET = Path(__file__).resolve().parent.parent / "docs" / "states.md"
HEAD = """# States

Drawn from the transition tables by `python scripts/diagrams.py`; a test compares them. A step that
a table does not have raises and changes nothing.
"""
Table = Mapping[tuple[StrEnum, StrEnum], StrEnum]
DIAGRAMS: tuple[tuple[str, str, Table], ...] = (
    ("A node, to the master", "colchis_master.core.lifecycle", NODE),
    ("A container, to the master", "colchis_master.core.lifecycle", CONTAINER),
    ("A container, on its agent", "colchis_agent.core.lifecycle", ON_AGENT),
    ("A task, to the task scheduler", "colchis_master.tasks.lifecycle", TASK),
    ("An attempt at a task, in its executor", "colchis_agent.executor.lifecycle", ATTEMPT),
)


def draw(table: Table) -> str:
    """One Mermaid diagram; steps between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, step), after in table.items():
        if state is not after:
            arrows.setdefault((state.value, after.value), []).append(step.value)
    lines = [
        f"    {_name(one)} --> {_name(other)}: {', '.join(steps)}"
        for (one, other), steps in arrows.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _name(state: str) -> str:
    return state.replace("-", "_")


def document() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, module, table in DIAGRAMS:
        parts.append(f"## {title}\n\n`{module}`\n\n{draw(table)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(document())
    print(TARGET, file=sys.stderr)
