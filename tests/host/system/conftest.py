"""One cluster for the tests of a module that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.host.system.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as running:
        yield running
