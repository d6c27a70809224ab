"""What import-linter cannot see: imports inside functions are the command's alone."""

import subprocess
import sys

PROGRAM = """
import sys
import colchis, colchis.cli.main, colchis.client.http, colchis.specs, colchis.jobs
print([name for name in sys.modules if name.split(".")[0] in ("colchis_master", "colchis_agent")])
"""


def test_the_command_loads_neither_master_nor_agent_until_a_verb_needs_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
