"""Runs one master: ``python -m colchis_master.service SETTINGS.yaml``."""

import sys
from pathlib import Path

from colchis.errors import ColchisError, InputError
from colchis.logs import log_to_stderr
from colchis_master.service.master import run_master
from colchis_master.service.settings import load_settings


def main(arguments: list[str]) -> int:
    """The exit code: 2 for bad settings."""
    if len(arguments) != 1:
        print("usage: python -m colchis_master.service SETTINGS.yaml", file=sys.stderr)
        return 2
    log_to_stderr()
    try:
        return run_master(load_settings(Path(arguments[0])))
    except InputError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except ColchisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
