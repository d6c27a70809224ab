"""A stream over an MQTT topic, from a broker of a few lines (MQTT 3.1.1, quality 0)."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from colchis.errors import ColchisError
from colchis.jobs.sources import Mqtt
from tests.host.support import wait_for

CONNECT, SUBSCRIBE = 1, 8


class Broker:
    """Takes one subscriber at a time and publishes to it."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.subscriber: socket.socket | None = None
        self.subscriptions = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while head := connection.recv(2):
            body = connection.recv(head[1], socket.MSG_WAITALL) if head[1] else b""
            if head[0] >> 4 == CONNECT:
                connection.sendall(b"\x20\x02\x00\x00")
            elif head[0] >> 4 == SUBSCRIBE:
                connection.sendall(b"\x90\x03" + body[:2] + b"\x00")
                self.subscriber = connection
                self.subscriptions += 1

    def publish(self, topic: str, payload: bytes) -> None:
        assert self.subscriber is not None
        body = struct.pack(">H", len(topic)) + topic.encode() + payload
        self.subscriber.sendall(bytes([0x30, len(body)]) + body)

    def drop(self) -> None:
        """Lose the subscriber."""
        assert self.subscriber is not None
        self.subscriber.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


@contextmanager
def broker() -> Iterator[Broker]:
    made = Broker()
    try:
        yield made
    finally:
        made.close()


def test_messages_are_taken_also_after_the_broker_was_lost() -> None:
    with broker() as made:
        source = Mqtt("sensors/#", port=made.port, again=0.05, most=2)
        source.open()
        taken: list[tuple[str, bytes]] = []

        def come(number: int) -> bool:
            taken.extend(source.take())
            return len(taken) == number

        made.publish("sensors/a", b"1")
        wait_for(lambda: come(1))
        made.drop()
        wait_for(lambda: made.subscriptions == 2)
        made.publish("sensors/b", b"2")
        wait_for(lambda: come(2))
        assert taken == [("sensors/a", b"1"), ("sensors/b", b"2")]
        for number in range(4):
            made.publish("sensors/c", bytes([number]))
        wait_for(lambda: source.dropped == 2)
        assert [payload for _, payload in source.take()] == [b"\x02", b"\x03"]
        source.close()


def test_no_broker_is_said() -> None:
    with broker() as made:
        port = made.port
    with pytest.raises(ColchisError, match=f"no MQTT broker answers at 127.0.0.1:{port}"):
        Mqtt("x", port=port, again=0.01).open(timeout=0.3)
