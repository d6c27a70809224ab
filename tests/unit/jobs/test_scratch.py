"""Folders of killed processes are removed, and no others."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from colchis.jobs.scratch import Scratch

HOLD = """
import sys, tempfile
from colchis.jobs.scratch import Scratch
tempfile.tempdir = sys.argv[1]
kept = Scratch("job-")
print(kept.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def held_by_another(place: Path) -> Iterator[Path]:
    """A folder of a process that is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_goes_with_the_first_start_after_its_process_was_killed(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as folder:
        (folder / "results").mkdir()
        Scratch("job-").remove()
        assert (folder / "results").is_dir()
    assert folder.is_dir()
    Scratch("other-").remove()
    assert folder.is_dir()
    Scratch("job-").remove()
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_made_as_such_a_folder_stays(tmp_path: Path) -> None:
    copy, notes, elsewhere, link = (tmp_path / name for name in ("job-1", "job-2", "x", "job-3"))
    with held_by_another(tmp_path) as folder:
        shutil.copytree(folder, copy)
    notes.mkdir()
    folder.rename(elsewhere)
    link.symlink_to(elsewhere)
    Scratch("job-").remove()
    assert set(tmp_path.iterdir()) == {copy, notes, elsewhere, link}
    assert list(elsewhere.iterdir())


def test_it_may_be_removed_twice(tmp_path: Path) -> None:
    scratch = Scratch("job-")
    scratch.remove()
    scratch.remove()
    assert not scratch.folder.exists()
