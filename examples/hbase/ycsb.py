"""Loads records into the table and runs the YCSB core workloads against it."""

import argparse
import json
import math
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hb_client import Table
from hb_discovery import Lookup
from hb_store import Fields
from hb_wire import RefusedError, UnreachableError
from ycsb_workloads import (
    DEFAULT_ORDER,
    FIELD_COUNT,
    MAX_SCAN_LENGTH,
    MIXES,
    Chooser,
    Kind,
    Mix,
    RecordNumbers,
    record_fields,
    record_key,
)


@dataclass
class Measured:
    """Latencies in seconds by kind of operation, and what went wrong."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    missing: int = 0
    scanned: int = 0
    seconds: float = 0.0

    def add(self, kind: str, latency: float) -> None:
        self.latencies.setdefault(kind, []).append(latency)

    def merge(self, other: "Measured") -> None:
        for kind, values in other.latencies.items():
            self.latencies.setdefault(kind, []).extend(values)
        self.missing += other.missing
        self.scanned += other.scanned

    def report(self) -> dict[str, Any]:
        """Counts, throughput in operations per second, latencies in milliseconds."""
        everything = [value for values in self.latencies.values() for value in values]
        return {
            "operations": len(everything),
            "seconds": round(self.seconds, 4),
            "throughput": round(len(everything) / self.seconds, 1) if self.seconds else 0.0,
            "missing": self.missing,
            "scanned": self.scanned,
            "latency_ms": summarise(everything),
            "kinds": {
                kind: {"count": len(values), **summarise(values)}
                for kind, values in sorted(self.latencies.items())
            },
        }


def percentile(ordered: list[float], share: float) -> float:
    """The nearest-rank percentile of sorted values; ``share`` is 0 to 1."""
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def summarise(latencies: list[float]) -> dict[str, float]:
    if not latencies:
        return {}
    ordered = sorted(latencies)
    chosen = {
        "mean": sum(ordered) / len(ordered),
        "p50": percentile(ordered, 0.50),
        "p95": percentile(ordered, 0.95),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1],
    }
    return {name: round(value * 1000, 3) for name, value in chosen.items()}


class Runner:
    """Runs phases, each with several threads that have a table client and a generator each."""

    def __init__(self, lookup: Lookup, threads: int, timeout: float, seed: int) -> None:
        self._lookup = lookup
        self._threads = threads
        self._timeout = timeout
        self._seed = seed

    def table(self) -> Table:
        return Table(self._lookup, self._timeout)

    def load(self, records: int) -> Measured:
        """Insert records 0 to ``records``-1."""

        def work(thread: int, table: Table, rng: random.Random, result: Measured) -> None:
            for number in range(thread, records, self._threads):
                fields = record_fields(rng)
                began = time.perf_counter()
                table.put(record_key(number), fields)
                result.add("insert", time.perf_counter() - began)

        return self._in_threads("load", work)

    def run(self, mix: Mix, numbers: RecordNumbers, operations: int, seconds: float) -> Measured:
        """Run ``operations`` of a mix, fewer if ``seconds`` (0: no limit) are over before."""
        left = iter(range(operations))
        lock = threading.Lock()
        deadline = time.monotonic() + seconds if seconds else float("inf")

        def work(_thread: int, table: Table, rng: random.Random, result: Measured) -> None:
            chooser = Chooser(mix.choice, numbers)
            while time.monotonic() < deadline:
                with lock:
                    if next(left, None) is None:
                        return
                operate(mix.draw(rng), table, chooser, numbers, rng, result)

        return self._in_threads(mix.name, work)

    def _in_threads(
        self, phase: str, work: Callable[[int, Table, random.Random, Measured], None]
    ) -> Measured:
        def one(thread: int) -> Measured:
            result = Measured()
            table = self.table()
            try:
                work(thread, table, random.Random(f"{self._seed}/{phase}/{thread}"), result)
            finally:
                table.close()
            return result

        total = Measured()
        began = time.perf_counter()
        with ThreadPoolExecutor(self._threads) as pool:
            for result in pool.map(one, range(self._threads)):
                total.merge(result)
        total.seconds = time.perf_counter() - began
        return total


def operate(
    kind: Kind,
    table: Table,
    chooser: Chooser,
    numbers: RecordNumbers,
    rng: random.Random,
    result: Measured,
) -> None:
    """Carry out and time one operation of a workload."""
    changed = {f"field{rng.randrange(FIELD_COUNT)}": rng.randbytes(50).hex()}
    number = numbers.take() if kind == "insert" else chooser.draw(rng)
    key = record_key(number)
    new = record_fields(rng) if kind == "insert" else {}
    found = True
    began = time.perf_counter()
    if kind == "read":
        row = table.get(key)
        found = row is not None and len(row[1]) == FIELD_COUNT
    elif kind == "update":
        table.put(key, changed)
    elif kind == "insert":
        table.put(key, new)
        numbers.done(number)
    elif kind == "scan":
        rows = table.scan(key, rng.randint(1, MAX_SCAN_LENGTH))
        found = bool(rows) and rows[0][0] == key
        result.scanned += len(rows)
    else:

        def modify(_fields: Fields) -> Fields:
            return changed

        found = table.read_modify_write(key, modify)
    result.add(kind, time.perf_counter() - began)
    result.missing += not found


def count_rows(table: Table) -> int:
    """All rows of the table, counted by scanning it."""
    rows, start = 0, ""
    while page := table.scan(start, 1000):
        rows += len(page)
        start = page[-1][0] + "\0"
    return rows


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Load, run every workload in order, count. Raises UnreachableError and RefusedError."""
    lookup = Lookup(options.api, options.app, options.token_file)
    runner = Runner(lookup, options.threads, options.timeout, options.seed)
    table = runner.table()
    try:
        table.wait_until_complete()
        table.truncate()
        loaded = runner.load(options.records).report()
        numbers = RecordNumbers(options.records)
        workloads = []
        for name in options.workloads:
            measured = runner.run(MIXES[name], numbers, options.operations, options.seconds)
            workloads.append({"workload": name, **measured.report()})
        return {
            "app": options.app,
            "records": options.records,
            "threads": options.threads,
            "load": loaded,
            "workloads": workloads,
            "rows": count_rows(table),
            "servers": table.status()["servers"],
        }
    finally:
        table.close()


def format_table(report: dict[str, Any]) -> str:
    """The report as text."""
    columns = ("mean", "p50", "p95", "p99", "max")
    header = f"{'phase':<6}{'kind':<8}{'ops':>8}{'ops/s':>10}"
    lines = [header + "".join(f"{name + ' ms':>11}" for name in columns)]
    for phase in [{"workload": "load", **report["load"]}, *report["workloads"]]:
        total = {"count": phase["operations"], **phase["latency_ms"]}
        for kind, figures in [("all", total), *phase["kinds"].items()]:
            name, rate = "", ""
            if kind == "all":
                name, rate = phase["workload"], f"{phase['throughput']:.1f}"
            latencies = "".join(f"{figures.get(column, 0):>11.3f}" for column in columns)
            lines.append(f"{name:<6}{kind:<8}{figures['count']:>8}{rate:>10}{latencies}")
    missing = sum(workload["missing"] for workload in report["workloads"])
    lines.append(f"{report['rows']} rows in the table, {missing} reads missed their record")
    return "\n".join(lines)


def _workloads(text: str) -> str:
    names = text.upper().replace(",", "")
    unknown = sorted(set(names) - set(MIXES))
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r}: choose from {''.join(MIXES)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True, help="address of the Colchis master's HTTP API")
    parser.add_argument("--token-file", type=Path, help="file with a token for the API")
    parser.add_argument("--app", default="hbase", help="name of the application")
    parser.add_argument("--records", type=_positive, default=1000)
    parser.add_argument("--operations", type=_positive, default=1000, help="per workload")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="time limit per workload; 0: none"
    )
    parser.add_argument("--workloads", type=_workloads, default=DEFAULT_ORDER, help="such as ABF")
    parser.add_argument("--threads", type=_positive, default=4)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse_arguments()
    try:
        report = benchmark(options)
    except (UnreachableError, RefusedError) as error:
        print(f"ycsb: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report) if options.output == "json" else format_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
