"""A real MQTT broker for tests: ``python -m tests.host.mqtt_broker PORT [USERS]``.

Prints its port once it listens; goes on until it is killed. USERS is a file with a name and a
password a line, read anew for each who comes; without it anybody may.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amqtt.broker import Broker
from amqtt.contexts import BaseContext
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

ROOT = Path(__file__).parents[2]


class Users(BaseAuthPlugin):  # type: ignore[misc]  # a library without types
    """Lets in who is in the file, and anybody where there is none."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)

    async def authenticate(self, *, session: Session) -> bool:
        files = [Path(name) for name in sys.argv[2:]]
        given = f"{session.username} {session.password}"
        return all(given in file.read_text().splitlines() for file in files)


async def _serve(port: int) -> None:
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {f"{Users.__module__}.Users": {}},
        }
    )
    await broker.start()
    [server] = broker._servers.values()
    print(server.instance.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def broker(port: int = 0, users: Path | None = None) -> Iterator[int]:
    """A broker in a process of its own until the end of the block; gives its port."""
    command = [sys.executable, "-m", "tests.host.mqtt_broker", str(port)]
    command += [str(users)] if users else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            # Asked to shut down, it may wait for ever for those who are connected.
            process.kill()


if __name__ == "__main__":
    sys.modules["tests.host.mqtt_broker"] = sys.modules["__main__"]
    asyncio.run(_serve(int(sys.argv[1])))
