"""The keys and tokens of a cluster: made once, laid out so that each host gets only its own.

FOLDER/master.key, master.pub     the master's pair
FOLDER/allowed/NODE.pub           who may speak to the master
FOLDER/agents/NODE.key, NODE.pub  each agent's pair, to be taken to its host
FOLDER/jobs.key, jobs.pub         the job service's pair
FOLDER/executor.key, client.key   the pairs of executors, and of those who submit jobs
FOLDER/allowed-jobs/              who may speak to the job service
FOLDER/admin.token                all rights over the HTTP API
FOLDER/lookup.token               what containers get: look up endpoints
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from colchis.wire.keys import load_or_generate, write_public

EXECUTORS = "executor/pool"
"""The identity of executors: the job service takes executors' messages from no other."""


def make_secrets(folder: Path, nodes: Sequence[str]) -> list[Path]:
    """Make what is missing, leave what is there; returns the files made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = set(folder.rglob("*"))
    load_or_generate(folder, "master")
    (folder / "allowed").mkdir(exist_ok=True)
    for node in nodes:
        pair = load_or_generate(folder / "agents", node)
        if not (folder / "allowed" / f"{node}.pub").exists():
            write_public(pair.public, folder / "allowed", node)
    for name, identity in (("executor", EXECUTORS), ("client", "client"), ("jobs", "master")):
        pair = load_or_generate(folder, name)
        if not (folder / "allowed-jobs" / f"{identity}.pub").exists():
            write_public(pair.public, folder / "allowed-jobs", identity)
    for name in ("admin", "lookup"):
        token = folder / f"{name}.token"
        if not token.exists():
            token.touch(0o600)
            token.write_text(secrets.token_urlsafe(32) + "\n")
    return sorted(path for path in set(folder.rglob("*")) - before if path.is_file())
