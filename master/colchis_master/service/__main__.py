"""Runs one master: ``python -m colchis_master.service SETTINGS.yaml``."""

import sys
from pathlib import Path

from colchis.daemons import run_module
from colchis_master.service.master import run_master
from colchis_master.service.settings import load_settings


def _run(file: Path) -> int:
    return run_master(load_settings(file))


if __name__ == "__main__":
    sys.exit(run_module("colchis_master.service", _run, sys.argv[1:]))
