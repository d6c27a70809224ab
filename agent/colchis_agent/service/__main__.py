"""Runs one agent: ``python -m colchis_agent.service SETTINGS.yaml``."""

import sys
from pathlib import Path

from colchis.daemons import run_module
from colchis_agent.service.agent import run_agent
from colchis_agent.service.settings import load_settings


def _run(file: Path) -> int:
    return run_agent(load_settings(file))


if __name__ == "__main__":
    sys.exit(run_module("colchis_agent.service", _run, sys.argv[1:]))
