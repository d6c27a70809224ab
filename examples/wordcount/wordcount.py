"""Counts the words of text files: a map, a shuffle by key, a sum.

    python examples/wordcount/wordcount.py FILE... [--top N] [--address ADDRESS]

Without an address (or COLCHIS_JOBS) it runs on this machine.
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
    parser.add_argument("--address", default=os.environ.get("COLCHIS_JOBS", "local"))
    arguments = parser.parse_args()
    files = [file.resolve() for file in arguments.files]
    with colchis.jobs.connect(arguments.address) as client:
        for word, number in count(client, files, arguments.top):
            print(f"{number:8} {word}")


if __name__ == "__main__":
    main()
