"""A master's settings, and the page that tells of those about placement."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from colchis.errors import InputError
from colchis.model.resources import Resources
from colchis_master.lra import ALGORITHMS, Weights
from colchis_master.service.mqtt import MqttSettings
from colchis_master.service.settings import MasterSettings, load_settings

PAGE = (Path(__file__).parents[3] / "docs/placement.md").read_text(encoding="utf-8")
FLAGS = {"state": "/s", "keys": "/k"}


def load(folder: Path, text: str) -> MasterSettings:
    file = folder / "master.yaml"
    file.write_text(text)
    return load_settings(file, FLAGS)


def test_the_defaults_are_those_of_the_page(tmp_path: Path) -> None:
    section = PAGE.split("\n## Settings\n")[1].split("\n## ")[0]
    [block] = re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    told = "".join(line for line in block.splitlines(True) if ": null" not in line)
    assert load(tmp_path, told) == load_settings(None, FLAGS)
    for name in re.findall(r"^(\w+): null", block, re.MULTILINE):
        assert getattr(load_settings(None, FLAGS), name) is None


def test_algorithms_and_objectives_are_those_of_the_page() -> None:
    named = re.findall(r"^\| `([a-z+-]+)` \|", PAGE, re.MULTILINE)
    assert named == [*ALGORITHMS, *(one.name for one in fields(Weights))]


def test_what_an_operator_chooses(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "make_room: suspend\nrebalance_threshold: 0.05\nmode: weighted\n"
        "weights: {machines: 1, balance: 0.5}\ngap: 0.02\n"
        "r_min: {cpus: 2.5, memory: 4GiB, gpus: 1}\n",
    )
    assert found.make_room == "suspend"
    assert found.rebalance_threshold == 0.05
    solver = found.solver()
    assert solver.mode == "weighted"
    assert solver.gap == 0.02
    assert solver.weights == Weights(machines=1, balance=0.5)
    assert solver.keep_free == Resources.of(2.5, "4GiB", gpus=1)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(
            tmp_path,
            "make_room: always\nrebalance_threshold: 2\nweights: {speed: 1, balance: -1}\n"
            "algorithm: best\nr_min: {cpus: -1}\n",
        )
    assert [(p.line, p.field) for p in sorted(caught.value.problems, key=lambda p: p.line)] == [
        (1, "make_room"),
        (2, "rebalance_threshold"),
        (3, "weights.speed"),
        (3, "weights.balance"),
        (4, "algorithm"),
        (5, "r_min.cpus"),
    ]


def test_options_of_the_task_scheduler(tmp_path: Path) -> None:
    found = load(
        tmp_path, "policy: kill\ntasks: {max_suspensions: 3, max_suspended_memory: 1GiB}\n"
    )
    assert (found.policy, found.tasks.max_suspensions) == ("kill", 3)
    assert found.tasks.max_suspended_memory == 2**30
    with pytest.raises(InputError) as caught:
        load(tmp_path, "tasks:\n  protect: -1\n  max_wait: 0\n  patience: 4\n")
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]


def test_a_broker_for_events(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    authority = tmp_path / "ca.pem"
    authority.touch()
    plain = load(tmp_path, "mqtt: {host: broker.lab}\n").mqtt
    assert plain == MqttSettings(host="broker.lab", port=1883, topic="colchis")
    text = f"{{host: b, topic: lab/, username: c, password_file: {secret}, ca_file: {authority}}}"
    found = load(tmp_path, f"mqtt: {text}\n").mqtt
    assert found == MqttSettings(
        host="b",
        port=8883,
        topic="lab",
        username="c",
        password="hush",
        tls=True,
        ca_file=authority,
    )
    assert "hush" not in repr(found)


def test_every_mistake_about_a_broker_is_told_at_once(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hush")
    secret.chmod(0o644)
    with pytest.raises(InputError) as caught:
        load(
            tmp_path,
            f"mqtt:\n  port: 0\n  topic: a/#\n  password_file: {secret}\n  ca_file: /none\n"
            "  tls: perhaps\n  qos: 2\n",
        )
    told = {(p.line, p.field) for p in caught.value.problems}
    assert told == {
        (2, "mqtt.host"),
        (2, "mqtt.port"),
        (3, "mqtt.topic"),
        (4, "mqtt.password_file"),
        (5, "mqtt.ca_file"),
        (6, "mqtt.tls"),
        (7, "mqtt.qos"),
    }
    assert "hush" not in str(caught.value)
