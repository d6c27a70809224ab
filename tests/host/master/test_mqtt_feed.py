"""What happens in the cluster is published to a real MQTT broker, by a real master."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from colchis.cli.local import free_ports
from tests.host.master.machine import Machine
from tests.host.mqtt_broker import broker
from tests.support import DEADLINE, wait_for

MASTER = ("colchis", "a-secret-of-the-broker")
LISTENER = ("listener", "another-secret")


def app(name: str) -> dict[str, Any]:
    group = {"count": 1, "resources": {"cpus": 0.1, "memory": "1MiB"}, "command": ["true"]}
    return {"app": name, "groups": {"g": group}}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path, nodes=())
    try:
        yield found
    finally:
        found.close()


def start(machine: Machine, port: int, password: str) -> None:
    secret = machine.folder / "mqtt.password"
    secret.write_text(password + "\n")
    secret.chmod(0o600)
    machine.start_master(
        f"mqtt: {{host: 127.0.0.1, port: {port}, topic: lab/events, username: {MASTER[0]}, "
        f"password_file: {secret}}}\n"
    )
    wait_for(machine.answers)


def log(machine: Machine) -> str:
    return (machine.folder / "master.log").read_text()


def users(folder: Path, *some: tuple[str, str]) -> Path:
    """The file of those who may speak to the broker."""
    file = folder / "users"
    file.write_text("".join(f"{name} {password}\n" for name, password in some))
    return file


async def _event(port: int, app: str, subscribed: asyncio.Event) -> tuple[str, dict[str, Any]]:
    name, password = LISTENER
    async with aiomqtt.Client("127.0.0.1", port, username=name, password=password) as client:
        await client.subscribe("lab/events/#", qos=1)
        subscribed.set()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            event = json.loads(message.payload)
            if event.get("app") == app:
                return str(message.topic), event
    raise AssertionError("the broker said goodbye")


def hear(port: int, app: str, then: Callable[[], object]) -> tuple[str, dict[str, Any]]:
    """The topic and the first event about an app, after what is done once somebody listens."""

    async def main() -> tuple[str, dict[str, Any]]:
        subscribed = asyncio.Event()
        hearing = asyncio.create_task(_event(port, app, subscribed))
        await asyncio.wait_for(subscribed.wait(), DEADLINE)
        await asyncio.to_thread(then)
        return await asyncio.wait_for(hearing, DEADLINE)

    return asyncio.run(main())


def test_events_are_published_also_those_of_a_time_without_a_broker(machine: Machine) -> None:
    with free_ports(1) as (port,):
        with broker(port, users(machine.folder, MASTER, LISTENER)):
            start(machine, port, MASTER[1])
            wait_for(lambda: "events are published by MQTT" in log(machine))
            topic, event = hear(port, "first", lambda: machine.client.submit([app("first")]))
            assert topic == f"lab/events/{event['event']}"
            [kept] = [e for e in machine.client.events()["events"] if e["seq"] == event["seq"]]
            assert event == kept
        machine.client.submit([app("second")])
        wait_for(lambda: "no MQTT broker takes events" in log(machine))
        with broker(port, users(machine.folder, LISTENER)):
            hear(port, "second", lambda: users(machine.folder, MASTER, LISTENER))
        assert MASTER[1] not in log(machine)


def test_a_broker_that_refuses_the_master_does_not_stop_it(machine: Machine) -> None:
    with broker(0, users(machine.folder, LISTENER)) as port:
        start(machine, port, MASTER[1])
        wait_for(lambda: "no MQTT broker takes events" in log(machine))
        machine.client.submit([app("first")])
    machine.daemons["master"].terminate()
    assert machine.daemons.pop("master").wait(DEADLINE) == 0
    assert MASTER[1] not in log(machine)
