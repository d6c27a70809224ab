"""A fake cluster and a client of the API in front of it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.unit.api.fake_control import FakeControl
from tests.unit.api.serving import ADMIN, serve


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def api(control: FakeControl) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with (
        serve(control) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client,
    ):
        yield client
