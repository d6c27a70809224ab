"""What every measurement shares: the machine it ran on, percentiles, and writing of results."""

import datetime
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def machine() -> dict[str, Any]:
    """The machine and the moment."""
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which ``share`` of the values lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def write(name: str, rows: Sequence[dict[str, Any]], folder: Path, **extra: Any) -> Path:
    """``NAME.json`` in a folder, with the machine; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine(), **extra, "rows": list(rows)}, indent=1) + "\n"
    )
    return path


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for column in rows[0] if rows else ():
        table.add_column(column, justify="left" if column == "algorithm" else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console(width=160).print(table)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
