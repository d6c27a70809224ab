"""Runs a job service: ``python -m colchis_master.jobs CONFIG.json``."""

import gc
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import zmq
from msgspec import Struct

from colchis.errors import ColchisError
from colchis.jobs.secure import sockets_for
from colchis.jobs.sockets import listen
from colchis.jobs.urgency import die_with_parent, wake_soon
from colchis.logs import log_to_stderr
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.journal import Journal
from colchis_master.jobs.service import JobService
from colchis_master.tasks.options import SERVICE
from colchis_master.tasks.scheduler import TaskScheduler


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """What a job service needs to know.

    ``clients`` and ``executors`` are addresses to bind, the latter empty where both use one;
    ``journal`` a file, or empty to keep jobs
    in memory only; ``options`` those of the task scheduler; ``patience`` and ``client_patience``
    the seconds after which silent executors and clients are given up; ``key`` a file with our
    CURVE key and ``allowed`` a path with those of executors (identities ``executor/...``) and
    clients, empty for loopback and socket files; ``tied``: end when the
    parent process does.
    """

    clients: str
    executors: str = ""
    journal: str = ""
    policy: str = "lma"
    options: dict[str, float | int | None] = {}
    seed: int = 0
    patience: float = 10.0
    client_patience: float = 30.0
    key: str = ""
    allowed: str = ""
    tied: bool = False


def serve(config: Config) -> int:
    """Run the service until it is told to end; returns an exit code."""
    if config.tied:
        die_with_parent(os.getppid())
    wake_soon()
    journal = Journal(Path(config.journal)) if config.journal else None
    epoch = journal.next_epoch() if journal is not None else int(time.time()) & 0xFFFFF
    options = replace(SERVICE, **config.options)  # type: ignore[arg-type]  # checked by itself
    scheduler = TaskScheduler(config.policy, options, random.Random(config.seed))
    core = JobCore(
        scheduler,
        epoch=epoch,
        patience=config.patience,
        client_patience=config.client_patience,
    )
    sockets = sockets_for(config.key, config.allowed, config.clients, config.executors)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    clients = listen(sockets, context, config.clients)
    executors = clients
    if config.executors not in ("", config.clients):
        executors = listen(sockets, context, config.executors)
    service = JobService(core, clients=clients, executors=executors, journal=journal)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        service.run()
    finally:
        clients.close(0.2)
        executors.close(0.2)
        context.term()
        if journal is not None:
            journal.close()
    return 0


def main(arguments: list[str]) -> int:
    """Read the configuration and serve."""
    if len(arguments) != 1:
        print("usage: python -m colchis_master.jobs CONFIG.json", file=sys.stderr)
        return 2
    log_to_stderr()
    try:
        config = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Config)
        return serve(config)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, ColchisError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
