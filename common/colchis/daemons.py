"""How a daemon is run as a module, ``python -m MODULE SETTINGS.yaml``."""

import sys
from collections.abc import Callable
from pathlib import Path

from colchis.errors import ColchisError, InputError
from colchis.logs import log_to_stderr


def run_module(module: str, run: Callable[[Path], int], arguments: list[str]) -> int:
    """Runs it with the settings' file that the arguments name; returns the exit code.

    That is 2 for wrong arguments or settings, 1 where the daemon cannot run.
    """
    if len(arguments) != 1:
        print(f"usage: python -m {module} SETTINGS.yaml", file=sys.stderr)
        return 2
    log_to_stderr()
    try:
        return run(Path(arguments[0]))
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except ColchisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
