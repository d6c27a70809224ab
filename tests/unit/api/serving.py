"""The API on a port of this machine."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from colchis_master.api.application import create_api
from colchis_master.api.control import Control
from colchis_master.api.tokens import Tokens

ADMIN = "the-admin's"
LOOKUP = "a-container's"


@contextmanager
def serve(control: Control) -> Iterator[str]:
    """The URL of an API that asks ``control``."""
    app = create_api(control, Tokens(admin=ADMIN, lookup=LOOKUP))
    config = uvicorn.Config(
        app, port=0, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline and thread.is_alive()
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
