"""Users who submit a round's long-running services every so often, and stop those of before.

Arguments: the file of the connection, the seconds between rounds. A process of its own, told ``on``
and ``off`` by lines on its standard input, so that its work does not mix with that of whoever
measures.
"""

import json
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.placement.clusters import Shape, make_round
from colchis.client.connection import read_connection
from colchis.client.http import Client
from colchis.specs import app_to_dict

KEPT = 3
"""Rounds that run at a time."""


def make_services(prefix: str, rng: random.Random) -> list[dict[str, Any]]:
    """Ten services of ten containers as specs, with rules within and across them."""
    found = []
    for app in make_round(Shape(0), rng):
        text = json.dumps(app_to_dict(app)).replace("app/app", f"app/{prefix}-app")
        plain: dict[str, Any] = json.loads(text)
        plain["app"] = f"{prefix}-{app.name}"
        for group in plain["groups"].values():
            group["command"] = ["true"]
        found.append(plain)
    return found


def submit_and_stop(
    client: Client, period: float, wanted: Callable[[], bool], over: threading.Event
) -> None:
    """Until ``over``: a round every period while it is ``wanted``, none left once it is not."""
    rng = random.Random(1)
    rounds: list[list[str]] = []
    number = 0
    while not over.wait(period):
        if wanted():
            apps = make_services(f"s{number}", rng)
            for app in apps:
                client.submit([app])
            rounds.append([app["app"] for app in apps])
            number += 1
        while rounds and (len(rounds) > KEPT or not wanted()):
            for name in rounds.pop(0):
                client.stop(name, 0.0)


def main() -> None:
    os.nice(5)  # users would not be on the master's machine
    wanted, over = threading.Event(), threading.Event()
    with Client(read_connection(Path(sys.argv[1]))) as client:
        period = float(sys.argv[2])
        work = threading.Thread(target=submit_and_stop, args=(client, period, wanted.is_set, over))
        work.start()
        for line in sys.stdin:
            (wanted.set if line.strip() == "on" else wanted.clear)()
        over.set()
        work.join()


if __name__ == "__main__":
    main()
