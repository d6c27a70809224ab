"""No message of an agent is left lying, whatever else is done with the socket."""

import asyncio
import select
from pathlib import Path

import zmq
import zmq.asyncio

from colchis.wire.codec import FROM_AGENT
from colchis.wire.curve import client_socket, server_socket
from colchis.wire.keys import AllowList, generate, write_public
from colchis.wire.messages import Confirm, Done, FromAgent
from colchis.wire.zap import ZapHandler
from colchis_master.service.link import Link

DEADLINE = 60.0


def test_who_does_not_take_all_is_told_of_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        ctx = zmq.asyncio.Context()
        plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(ctx.underlying)
        master, agent = generate(), generate()
        write_public(agent.public, tmp_path, "n1")
        try:
            async with ZapHandler(ctx, {"agents": AllowList(tmp_path)}):
                server = server_socket(plain, master, "agents")
                port = server.bind_to_random_port("tcp://127.0.0.1")
                client = client_socket(plain, agent, master.public)
                client.connect(f"tcp://127.0.0.1:{port}")
                try:
                    news = asyncio.Event()
                    with Link(server, news.set) as link:
                        await exchange(link, news, server, client)
                finally:
                    server.close(0)
                    client.close(0)
        finally:
            ctx.destroy(linger=0)

    asyncio.run(scenario())


async def exchange(
    link: Link,
    news: asyncio.Event,
    server: "zmq.Socket[bytes]",
    client: "zmq.Socket[bytes]",
) -> None:
    while not client.poll(0, zmq.POLLOUT):
        await asyncio.sleep(0.01)
    got: list[FromAgent] = []
    client.send(FROM_AGENT.encode(done(0)))
    while not got:
        await asyncio.wait_for(news.wait(), DEADLINE)
        news.clear()
        got += [message for _, _, message in link.received()]
    for _ in range(3):
        await asyncio.sleep(0)  # what the loop has seen of the first signal is over
    client.send(FROM_AGENT.encode(done(1)))
    # From here to the wait the loop has no turn, in which it would see a signal before it is used.
    assert readable(server)
    for _, connection, message in link.received():
        got.append(message)
        # The send finds nothing more there, others arrive, and their signal is used up.
        assert link.send(connection, Confirm(1, "s", 1))
        for number in (2, 3):
            client.send(FROM_AGENT.encode(done(number)))
        assert readable(server) and server.getsockopt(zmq.EVENTS)
        break
    link.look()
    while len(got) < 4:
        await asyncio.wait_for(news.wait(), DEADLINE)
        news.clear()
        got += [message for _, _, message in link.received()]
    assert got == [done(number) for number in range(4)]


def readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(select.select([socket.fileno()], [], [], DEADLINE)[0])


def done(number: int) -> Done:
    return Done(number, f"a/g/{number}")
