"""Counts the words of text files: a map, a shuffle by key, a sum.

    python examples/wordcount/wordcount.py FILE... [--top N] [--cluster]

Runs on this machine; with --cluster, or in a container of an app that may submit jobs, on a
cluster.
"""

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import colchis.jobs
from colchis.jobs.client import Client

WORD = re.compile(r"[a-z']+")


def words(file: Path) -> Iterator[str]:
    """The words of a file, in lower case."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            yield from WORD.findall(line.lower())


def count(client: Client, files: list[Path], top: int) -> list[tuple[str, int]]:
    """The most frequent words and how often they occur, most frequent first."""
    job = client.job("wordcount")
    groups = job.records(files).flat_map(words).shuffle(lambda word: word)
    counts = groups.map(lambda group: (group[0], len(group[1]))).result()
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:top]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--cluster", action="store_true", help="use a cluster's executors")
    arguments = parser.parse_args()
    files = [file.resolve() for file in arguments.files]
    cluster = arguments.cluster or "COLCHIS_JOBS" in os.environ
    with colchis.jobs.connect(None if cluster else "local") as client:
        for word, number in count(client, files, arguments.top):
            print(f"{number:8} {word}")


if __name__ == "__main__":
    main()
