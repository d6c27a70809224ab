"""A stream over an MQTT topic, from a real broker."""

import asyncio

import aiomqtt
import pytest

from colchis.cli.local import free_ports
from colchis.errors import ColchisError
from colchis.jobs.sources import Mqtt
from tests.host.mqtt_broker import broker
from tests.support import wait_for


def publish(port: int, topic: str, *payloads: bytes) -> None:
    async def send() -> None:
        async with aiomqtt.Client("127.0.0.1", port) as client:
            for payload in payloads:
                await client.publish(topic, payload, qos=1)

    asyncio.run(send())


def test_messages_are_taken_also_after_the_broker_was_lost() -> None:
    taken: list[tuple[str, bytes]] = []

    def come(number: int) -> bool:
        taken.extend(source.take())
        return len(taken) >= number

    with free_ports(1) as (port,):
        with broker(port):
            source = Mqtt("sensors/#", port=port, again=0.05)
            source.open()
            publish(port, "sensors/a", b"1")
            wait_for(lambda: come(1))
        with broker(port):

            def again() -> bool:
                # Whoever has not yet subscribed again misses what is published meanwhile.
                publish(port, "sensors/b", b"2")
                return come(2)

            wait_for(again)
            assert taken[:2] == [("sensors/a", b"1"), ("sensors/b", b"2")]
            source.close()


def test_the_oldest_go_where_nobody_takes_them() -> None:
    with broker() as port:
        source = Mqtt("sensors/#", port=port, most=2)
        source.open()
        publish(port, "sensors/a", *[bytes([number]) for number in range(4)])
        wait_for(lambda: source.dropped == 2)
        assert [payload for _, payload in source.take()] == [b"\x02", b"\x03"]
        source.close()


def test_no_broker_is_said() -> None:
    with free_ports(1) as (port,), pytest.raises(ColchisError, match=f"answers at .*:{port}"):
        Mqtt("x", port=port, again=0.01).open(timeout=0.3)
