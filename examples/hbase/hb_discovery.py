"""Finding the other containers of an application through Colchis.

A container learns its own place from the environment (``COLCHIS_*``) and its peers' addresses from
the master's HTTP API. Addresses change whenever a container restarts, so they are asked for again
after every failure and never kept across one.
"""

import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


class LookupFailedError(Exception):
    """The master could not be asked, or its answer made no sense."""


@dataclass(frozen=True)
class Endpoint:
    """Where one container listens; ``container`` is ``app/group/index``."""

    container: str
    host: str
    port: int
    state: str

    @property
    def group(self) -> str:
        return self.container.split("/")[1]

    @property
    def index(self) -> int:
        return int(self.container.split("/")[2])


@dataclass(frozen=True)
class Lookup:
    """The endpoints of one application, as the Colchis master knows them."""

    api: str
    app: str
    token_file: Path | None = None
    timeout: float = 5.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Lookup":
        token_file = environment.get("COLCHIS_TOKEN_FILE")
        return cls(
            api=environment["COLCHIS_API"],
            app=environment["COLCHIS_APP"],
            token_file=Path(token_file) if token_file else None,
        )

    def endpoints(self) -> list[Endpoint]:
        """All endpoints of the application. Raises LookupFailedError."""
        url = f"{self.api.rstrip('/')}/v1/apps/{quote(self.app)}/endpoints"
        request = urllib.request.Request(url)
        # The master is a neighbour: a proxy meant for the world must not be asked for it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            if self.token_file is not None:
                # Read anew each time, since the token may be replaced while we run.
                token = self.token_file.read_text().strip()
                request.add_header("Authorization", f"Bearer {token}")
            with opener.open(request, timeout=self.timeout) as response:
                listed = json.load(response)["endpoints"]
            return [
                Endpoint(str(e["container"]), str(e["host"]), int(e["port"]), str(e["state"]))
                for e in listed
                if e.get("host") and e.get("port") and str(e["container"]).count("/") == 2
            ]
        except urllib.error.HTTPError as error:
            with error:
                raise LookupFailedError(f"{url}: HTTP {error.code}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LookupFailedError(f"{url}: {error}") from error

    def find(self, group: str, index: int) -> Endpoint | None:
        """The endpoint of one container, or None while it has none. Raises LookupFailedError."""
        wanted = f"{self.app}/{group}/{index}"
        return next((e for e in self.endpoints() if e.container == wanted), None)


class Backoff:
    """Waits that double from ``first`` to ``longest`` seconds, each shortened at random.

    The jitter keeps containers that lost the same peer from returning in step.
    """

    def __init__(self, first: float = 0.05, longest: float = 2.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def delay(self) -> float:
        """The next wait in seconds."""
        chosen = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._longest, self._next * 2)
        return chosen

    def wait(self) -> None:
        time.sleep(self.delay())
