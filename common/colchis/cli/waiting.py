"""Waiting until what was ordered is so."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

POLL = 0.2
"""Seconds between looks at the master."""

WaitOption = Annotated[bool, typer.Option(help="Wait until it is so.")]
TimeoutOption = Annotated[
    float, typer.Option(help="Seconds to wait before giving up with exit code 1.", min=0)
]


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether ``condition`` came true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True
