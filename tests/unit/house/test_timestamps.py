"""The times in a daemon's log."""

import time
from typing import Any

from colchis.logs import Timestamps


def test_each_second_has_its_own_local_time() -> None:
    now = [1_700_000_000.2]
    stamp = Timestamps(lambda: now[0])

    def text() -> Any:
        return stamp(None, "info", {})["timestamp"]

    def read(stamped: str) -> float:
        return time.mktime(time.strptime(stamped, "%Y-%m-%dT%H:%M:%S"))

    assert read(text()) == 1_700_000_000
    now[0] += 0.7
    assert read(text()) == 1_700_000_000
    now[0] += 0.2
    assert read(text()) == 1_700_000_001
