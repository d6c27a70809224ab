"""Who gets through the door: real sockets on the loopback address."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from colchis.wire.curve import client_socket, connection_events, server_socket
from colchis.wire.frames import sender
from colchis.wire.keys import AllowList, KeyPair, generate, write_public
from colchis.wire.zap import ZapHandler

DEADLINE = 60.0


@dataclass
class Door:
    """A server that admits the keys in ``folder``."""

    ctx: zmq.asyncio.Context
    socket: zmq.asyncio.Socket
    zap: ZapHandler | None
    keys: KeyPair
    folder: Path
    address: str

    def client(self, keys: KeyPair, server: str | None = None) -> zmq.asyncio.Socket:
        client = client_socket(self.ctx, keys, server or self.keys.public)
        client.connect(self.address)
        return client

    async def receive(self) -> tuple[str | None, bytes]:
        frames = await asyncio.wait_for(self.socket.recv_multipart(copy=False), DEADLINE)
        return sender(frames), frames[-1].bytes


@asynccontextmanager
async def door(folder: Path, *, guarded: bool = True) -> AsyncIterator[Door]:
    ctx = zmq.asyncio.Context()
    keys = generate()
    zap = ZapHandler(ctx, {"agents": AllowList(folder)})
    try:
        if guarded:
            await zap.__aenter__()
        socket = server_socket(ctx, keys, "agents")
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        yield Door(ctx, socket, zap, keys, folder, f"tcp://127.0.0.1:{port}")
    finally:
        await zap.__aexit__(None, None, None)
        ctx.destroy(linger=0)


def run(scene: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(scene())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


async def say(client: zmq.asyncio.Socket, text: bytes) -> None:
    sent: Awaitable[object] = client.send(text)
    await asyncio.wait_for(sent, DEADLINE)


async def refusals(client: zmq.asyncio.Socket) -> int:
    """Waits until the server has refused a connection of the client."""
    async with connection_events(client) as events:
        async with asyncio.timeout(DEADLINE):
            async for event in events:
                if event == "refused":
                    break
        return events.counts["refused"]


def test_an_allowed_key_speaks_under_its_identity(tmp_path: Path) -> None:
    keys = generate()
    write_public(keys.public, tmp_path, "n1")

    async def scene() -> None:
        async with door(tmp_path) as it:
            await say(it.client(keys), b"hello")
            assert await it.receive() == ("n1", b"hello")

    run(scene)


def test_an_unknown_key_is_refused_and_counted(tmp_path: Path) -> None:
    async def scene() -> None:
        async with door(tmp_path) as it:
            client = it.client(generate())
            assert await refusals(client) >= 1
            assert it.zap is not None
            assert it.zap.refused["agents"] >= 1
            assert not it.zap.admitted
            with pytest.raises(zmq.Again):
                await client.send(b"hello", zmq.NOBLOCK)

    run(scene)


def test_a_key_put_on_the_list_later_gets_in(tmp_path: Path) -> None:
    keys = generate()

    async def scene() -> None:
        async with door(tmp_path) as it:
            refused = it.client(keys)
            await refusals(refused)
            refused.close()
            write_public(keys.public, tmp_path, "n7")
            await say(it.client(keys), b"now")
            assert await it.receive() == ("n7", b"now")

    run(scene)


def test_without_an_authenticator_nobody_gets_in(tmp_path: Path) -> None:
    keys = generate()
    write_public(keys.public, tmp_path, "n1")

    async def scene() -> None:
        async with door(tmp_path, guarded=False) as it, connection_events(it.socket) as events:
            client = it.client(keys)
            async with asyncio.timeout(DEADLINE):
                async for event in events:
                    assert event != "connected"
                    if event == "refused":
                        break
            with pytest.raises(zmq.Again):
                await client.send(b"hello", zmq.NOBLOCK)

    run(scene)


def test_a_peer_without_a_key_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with door(tmp_path) as it, connection_events(it.socket) as events:
            client = it.ctx.socket(zmq.DEALER)
            client.connect(it.address)
            await say(client, b"hello")
            async with asyncio.timeout(DEADLINE):
                async for event in events:
                    assert event != "connected"
                    if event == "refused":
                        break
            assert not await it.socket.poll(0)

    run(scene)


def test_a_client_does_not_speak_to_a_server_with_another_key(tmp_path: Path) -> None:
    keys = generate()
    write_public(keys.public, tmp_path, "n1")

    async def scene() -> None:
        async with door(tmp_path) as it, connection_events(it.socket) as events:
            client = it.client(keys, server=generate().public)
            async with asyncio.timeout(DEADLINE):
                async for event in events:
                    assert event != "connected"
                    if event == "refused":
                        break
            with pytest.raises(zmq.Again):
                await client.send(b"hello", zmq.NOBLOCK)

    run(scene)


def test_a_stolen_routing_id_takes_over_nothing(tmp_path: Path) -> None:
    honest, thief = generate(), generate()
    write_public(honest.public, tmp_path, "n1")
    write_public(thief.public, tmp_path, "n2")

    async def scene() -> None:
        async with door(tmp_path) as it:
            first = client_socket(it.ctx, honest, it.keys.public)
            first.setsockopt(zmq.ROUTING_ID, b"way")
            first.connect(it.address)
            await say(first, b"mine")
            assert await it.receive() == ("n1", b"mine")
            second = client_socket(it.ctx, thief, it.keys.public)
            second.setsockopt(zmq.ROUTING_ID, b"way")
            second.connect(it.address)
            zap = it.zap
            assert zap is not None
            await until(lambda: zap.admitted["agents"] == 2)
            await it.socket.send_multipart([b"way", b"order"])
            assert await asyncio.wait_for(first.recv(), DEADLINE) == b"order"
            assert not await second.poll(200)

    run(scene)


def test_random_bytes_on_the_port_leave_the_server_alive(tmp_path: Path) -> None:
    keys = generate()
    write_public(keys.public, tmp_path, "n1")

    async def scene() -> None:
        async with door(tmp_path) as it:
            host, port = it.address.removeprefix("tcp://").split(":")
            for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40, b"\xff" * 11):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(noise)
                writer.close()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            await say(it.client(keys), b"still there")
            assert await it.receive() == ("n1", b"still there")

    run(scene)


def test_requests_that_are_none_get_no_answer(tmp_path: Path) -> None:
    zap = ZapHandler(zmq.asyncio.Context.instance(), {"agents": AllowList(tmp_path)})
    assert zap.answer([b"1.0", b"1"]) is None
    plain = [b"1.0", b"1", b"agents", b"::1", b"", b"PLAIN", b"user", b"word"]
    assert (zap.answer(plain) or [])[2] == b"400"
    elsewhere = [b"1.0", b"1", b"other", b"::1", b"", b"CURVE", b"\0" * 32]
    assert (zap.answer(elsewhere) or [])[2] == b"400"


def test_a_list_that_cannot_be_read_admits_nobody(tmp_path: Path) -> None:
    class Broken(AllowList):
        def identity(self, public: str) -> str | None:
            raise RuntimeError(f"the disk is gone, {public} or not")

    zap = ZapHandler(zmq.asyncio.Context.instance(), {"agents": Broken(tmp_path)})
    asked = [b"1.0", b"1", b"agents", b"::1", b"", b"CURVE", b"\0" * 32]
    assert (zap.answer(asked) or [])[2] == b"400"
