"""Runs one executor: ``python -m colchis_agent.executor CONFIG.json``.

The configuration is a file and not arguments, because it may name keys and is nobody's business.
"""

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from colchis.errors import ColchisError

STATUS_FILE = "COLCHIS_STATUS_FILE"
"""Names the file, if any, where the agent looks for the executor's figures."""


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """What an executor needs to know.

    ``memory`` in bytes; ``service`` the job service's address; ``bind`` where results are served
    and ``host`` the name under which others reach that; ``work`` a folder for logs and spilled
    results; ``grace`` the seconds a task has to yield before it is frozen; ``heartbeat`` in
    seconds; ``store_memory`` the bytes of results kept in memory; ``preload`` modules imported
    before slots are forked; ``zygote_patience`` the seconds for which what forks them may be
    stopped while it is needed and we are not, before the executor ends; ``key`` a file with our
    CURVE key and ``allowed`` a path with those of peers and clients (see ``colchis.wire.keys``),
    empty for loopback and socket files; ``tied``: end when the parent process does.
    """

    executor: str
    node: str
    cores: int
    memory: int
    service: str
    work: str
    bind: str = "tcp://127.0.0.1:*"
    host: str = ""
    spares: int | None = None
    most: int | None = None
    grace: float = 0.05
    heartbeat: float = 1.0
    store_memory: int | None = None
    preload: list[str] = []
    zygote_patience: float = 30.0
    key: str = ""
    allowed: str = ""
    tied: bool = False


def serve(config: Config) -> int:
    """Run the executor until it is told to end; returns an exit code."""
    # Only what the zygote needs is imported before it is forked, and no thread exists.
    from colchis.jobs.urgency import die_with_parent, wake_soon
    from colchis_agent.cgroups import open_own_tree
    from colchis_agent.executor.core import MARGIN, ExecutorCore
    from colchis_agent.executor.freezer import open_freezer
    from colchis_agent.executor.pool import Pool, ZygoteGoneError
    from colchis_agent.executor.store import SlotResults, Store

    if config.tied:
        die_with_parent(os.getppid())
    work = Path(config.work)
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = private_folder(work)
    local = f"ipc://{private}/store"
    spares = config.cores if config.spares is None else config.spares
    most = config.most or 4 * config.cores + spares
    lines = most + MARGIN
    freezer = open_freezer(open_own_tree(private / "groups"), lines)
    pool = Pool(
        work=work,
        lines=lines,
        freezer=freezer,
        results=lambda: SlotResults(local),
        preload=config.preload,
        patience=config.zygote_patience,
        look=config.heartbeat,
    )
    try:
        import zmq

        from colchis.jobs.secure import sockets_for
        from colchis.jobs.sockets import reach
        from colchis_agent.executor.supervisor import Supervisor

        wake_soon()
        sockets = sockets_for(config.key, config.allowed, config.bind)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        memory = config.memory // 4 if config.store_memory is None else config.store_memory
        store = Store(
            context,
            sockets,
            folder=work,
            local=local,
            bind=config.bind,
            host=config.host,
            memory=memory,
        )
        service = reach(sockets, context, config.service)
        supervisor = Supervisor(
            name=config.executor,
            node=config.node,
            memory=config.memory,
            core=ExecutorCore(cores=config.cores, spares=spares, most=most, grace=config.grace),
            pool=pool,
            store=store,
            service=service,
            heartbeat=config.heartbeat,
            status_file=Path(os.environ[STATUS_FILE]) if STATUS_FILE in os.environ else None,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        try:
            supervisor.run()
        except ZygoteGoneError as error:
            print(f"the executor ends: {error}", file=sys.stderr)
            return 1
        finally:
            store.close()
            service.close(0.2)
            context.term()
        return 0
    finally:
        pool.close()
        shutil.rmtree(private, ignore_errors=True)


def private_folder(work: Path) -> Path:
    """A new folder for sockets, whose paths may have 107 bytes at most.

    It is below ``work``, and goes with it whatever ends us, unless that is too long: then with the
    next such executor's.
    """
    near = work / "private"
    if len(os.fsencode(near / "store")) > 107:
        from colchis.jobs.scratch import Scratch

        return Scratch("colchis-x-").folder
    # What is there was left by an executor that was killed.
    shutil.rmtree(near, ignore_errors=True)
    near.mkdir(mode=0o700)
    return near


def main(arguments: list[str]) -> int:
    """Read the configuration and serve."""
    if len(arguments) != 1:
        print("usage: python -m colchis_agent.executor CONFIG.json", file=sys.stderr)
        return 2
    try:
        config = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    try:
        return serve(config)
    except ColchisError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
