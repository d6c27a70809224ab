"""Over TCP: only those whose keys are on the list, each for what it is."""

from pathlib import Path

import pytest

import colchis.jobs
from colchis.cli.local import free_ports
from colchis.errors import ColchisError, InputError
from colchis.jobs.local import LocalCluster
from colchis.jobs.secure import sockets_for
from colchis.wire.keys import KeyPair, generate, write_pair, write_public
from tests.support import wait_for


def test_strangers_are_kept_out_and_results_travel_between_executors(tmp_path: Path) -> None:
    pairs = {name: generate() for name in ("service", "executor/a", "client", "stranger")}
    keys, allowed = tmp_path / "keys", tmp_path / "allowed"
    for name, pair in pairs.items():
        write_pair(pair, keys, name)
        if name != "stranger":
            write_public(pair.public, allowed, name)
    with free_ports(1) as (port,):
        exchange(tmp_path, pairs, port)


def exchange(folder: Path, pairs: dict[str, KeyPair], port: int) -> None:
    keys, allowed = folder / "keys", folder / "allowed"
    public = f"tcp://127.0.0.1:{port}|{pairs['service'].public}"
    cluster = LocalCluster(
        executors=2,
        cores=1,
        service_settings={
            "clients": f"tcp://127.0.0.1:{port}",
            "executors": "",
            "key": str(keys / "service.key"),
            "allowed": str(allowed),
        },
        executor_settings={
            "service": public,
            "bind": "tcp://127.0.0.1:*",
            "host": "127.0.0.1",
            "key": str(keys / "executor/a.key"),
            "allowed": str(allowed),
        },
    )
    try:
        with colchis.jobs.connect(public, key=str(keys / "client.key")) as client:
            wait_for(lambda: client.executors() == 2)
            stage = client.job("big").map(lambda n: bytes([n]) * 100_000, range(4), partitions=4)
            groups = stage.shuffle(lambda data: data[0] % 2, partitions=2)
            assert sorted(k for k, _ in groups.result(60)) == [0, 1]
        for key, told in ("stranger", "refused"), ("executor/a", "Hello from executor/a"):

            def kept_out(key: str = key, told: str = told) -> bool:
                with pytest.raises(ColchisError, match="no job service answers"):
                    colchis.jobs.connect(public, key=str(keys / f"{key}.key"), timeout=1)
                return told in cluster.logs()

            wait_for(kept_out)
    finally:
        cluster.close()


def test_no_server_without_a_key_beyond_loopback() -> None:
    sockets_for("", "", "tcp://127.0.0.1:1", "ipc:///tmp/x")
    with pytest.raises(InputError, match="a key is needed"):
        sockets_for("", "", "tcp://0.0.0.0:7642")
