"""What a daemon writes when something goes wrong."""

import subprocess
import sys

NOISE = """
import structlog
from colchis.logs import log_to_stderr

log_to_stderr()
text = "ended\\nFORGED \\x1b[2J \\udcff"
structlog.get_logger().warning(text, word="\\x1b[2J", reason=text)
"""

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


def test_what_others_say_stays_on_one_line_and_harmless() -> None:
    ran = subprocess.run(
        [sys.executable, "-"], input=NOISE, capture_output=True, text=True, check=True
    )
    assert len(ran.stderr.splitlines()) == 1
    assert "FORGED" in ran.stderr
    assert "\x1b" not in ran.stderr
