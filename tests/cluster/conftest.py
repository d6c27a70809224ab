"""Several hosts: Docker and its image are made ready once."""

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import Lab

ROOT = Path(__file__).parents[2]
AGENTS = 4


@pytest.fixture(scope="session")
def image() -> str:
    """The project in an image; where Docker cannot run, that is a failure in CI only."""
    made = subprocess.run(
        [ROOT / "scripts/cluster", "image"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        reason = f"no image of the cluster:\n{made.stderr[-2000:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return made.stdout.split()[-1]


@pytest.fixture(scope="module")
def lab(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A master and four agents, with both example apps running."""
    lab = Lab(image, tmp_path_factory.mktemp("lab"), AGENTS)
    try:
        try:
            lab.start()
        except BaseException:
            print(lab.account())
            raise
        yield lab
    finally:
        lab.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with what the cluster says of itself."""
    report = yield
    lab = item.funcargs.get("lab") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(lab, Lab):
        report.sections.append(("the cluster", lab.account()))
    return report
