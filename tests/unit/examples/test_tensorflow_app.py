"""Training as real processes."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tf_discovery import Lookup
from tf_wire import Peer

from tests.support import wait_for
from tests.unit.examples.support import FakeMaster

PS0, PS1 = "tensorflow/ps/0", "tensorflow/ps/1"
TWO = ("--servers", "2")


def start_all(colchis: FakeMaster) -> None:
    """Workers first, so that they have to wait for the others."""
    for index in range(2):
        colchis.start(f"tensorflow/worker/{index}", "worker.py", *TWO, "--pause", "0.002")
    colchis.start("tensorflow/chief/0", "chief.py", *TWO, "--interval", "0.1")
    for container in (PS0, PS1):
        colchis.start(container, "parameter_server.py", *TWO)


@pytest.fixture
def chief(colchis: FakeMaster) -> Iterator[Peer]:
    peer = Peer(Lookup(colchis.api, "tensorflow", colchis.token_file), "chief")
    yield peer
    peer.close()


def status(chief: Peer) -> dict[str, Any]:
    return chief.call("status", within=90.0)[0]


def wait_for_loss(chief: Peer, share: float) -> None:
    def low() -> bool:
        now = status(chief)
        return now["loss"] is not None and now["loss"] < share * now["initial_loss"]

    wait_for(low, "the loss to go down")


def test_the_loss_goes_down_and_is_printed(colchis: FakeMaster, chief: Peer) -> None:
    start_all(colchis)
    wait_for_loss(chief, 0.5)
    printed = [json.loads(line) for line in colchis.output("tensorflow/chief/0").splitlines()]
    measured = [line for line in printed if "loss" in line]
    assert measured[-1]["loss"] < measured[0]["loss"]
    steps = [line["step"] for line in measured]
    assert steps == sorted(steps)
    assert set(status(chief)["servers"][0]["workers"]) == {
        "tensorflow/worker/0",
        "tensorflow/worker/1",
    }
    run = colchis.client("tensorflow", "watch.py", "-o", "json")
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["loss"] < seen["initial_loss"]
    assert seen["step"] >= measured[-1]["step"]
    run = colchis.client("tensorflow", "watch.py")
    assert run.stdout.startswith("step ")


def test_a_parameter_server_that_restarts_is_filled_again(colchis: FakeMaster, chief: Peer) -> None:
    start_all(colchis)
    wait_for_loss(chief, 0.7)
    reached = status(chief)["step"]
    colchis.kill(PS1)
    colchis.start(PS1, "parameter_server.py", *TWO)
    wait_for(lambda: status(chief)["refills"] > 2, "the chief to fill the new server")
    wait_for(lambda: status(chief)["step"] > reached, "training to go on")
    wait_for_loss(chief, 0.5)


def test_frozen_workers_go_on_when_thawed(colchis: FakeMaster, chief: Peer) -> None:
    start_all(colchis)
    workers = [f"tensorflow/worker/{index}" for index in range(2)]
    wait_for(lambda: status(chief)["step"] > 0, "training to begin")
    for worker in workers:
        colchis.freeze(worker)
    frozen_at = time.time()

    def quiet() -> bool:
        since = [e["step"] for e in status(chief)["history"] if e["time"] > frozen_at]
        return len(since) >= 5 and len(set(since[-5:])) == 1

    wait_for(quiet, "training to stop")
    stopped_at = status(chief)["step"]
    for worker in workers:
        colchis.thaw(worker)
    wait_for(lambda: status(chief)["step"] > stopped_at, "training to go on")


def test_a_restarted_chief_goes_on_from_what_the_servers_hold(
    colchis: FakeMaster, chief: Peer
) -> None:
    start_all(colchis)
    wait_for(lambda: status(chief)["step"] > 0, "training to begin")
    reached = status(chief)["step"]
    colchis.kill("tensorflow/chief/0")
    colchis.start("tensorflow/chief/0", "chief.py", *TWO, "--interval", "0.1")
    wait_for(lambda: status(chief)["initial_loss"] is not None, "the new chief to measure")
    now = status(chief)
    assert now["step"] >= reached
    assert now["refills"] == 0


def test_watching_without_the_right_token_ends_with_code_1(colchis: FakeMaster) -> None:
    colchis.token_file.write_text("wrong")
    run = colchis.client("tensorflow", "watch.py", "--timeout", "0.2")
    assert run.returncode == 1
    assert "HTTP 401" in run.stderr
