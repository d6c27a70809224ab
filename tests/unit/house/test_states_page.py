"""docs/states.md is what scripts/diagrams.py draws."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_shows_the_tables_as_they_are() -> None:
    program = "import runpy; print(runpy.run_path('scripts/diagrams.py')['document'](), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == (ROOT / "docs/states.md").read_text()
