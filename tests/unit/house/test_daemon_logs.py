"""What a daemon writes when something goes wrong."""

import subprocess
import sys

PROGRAM = """
import structlog
from colchis.logs import log_to_stderr

log_to_stderr()
token = "geheim"
try:
    raise ValueError("no such thing")
except ValueError:
    structlog.get_logger().exception("a round failed", round=7)
"""


def test_a_traceback_shows_no_values_of_variables() -> None:
    ran = subprocess.run(
        [sys.executable, "-"], input=PROGRAM, capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    assert "a round failed" in ran.stderr
    assert "round=7" in ran.stderr
    assert "ValueError: no such thing" in ran.stderr
    assert "geheim" not in ran.stderr
