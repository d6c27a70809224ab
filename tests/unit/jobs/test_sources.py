"""Where streams come from."""

import threading
from pathlib import Path

import pytest

from colchis.errors import ColchisError
from colchis.jobs.sources import Folder, Generator, Mqtt


def test_folder_gives_each_file_once_by_name(tmp_path: Path) -> None:
    source = Folder(tmp_path, "*.csv")
    source.open()
    assert source.take() == []
    for name in ("b.csv", "a.csv", ".c.csv", "d.txt"):
        (tmp_path / name).touch()
    assert source.take() == [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert source.take() == []
    (tmp_path / "a.csv").unlink()
    assert source.take() == []
    (tmp_path / "a.csv").touch()
    assert source.take() == [tmp_path / "a.csv"]
    with pytest.raises(ColchisError, match="no folder"):
        Folder(tmp_path / "none").open()


def test_generator_gives_what_is_due_and_then_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("colchis.jobs.sources.time.monotonic", lambda: now)
    source = Generator(range(5), rate=2)
    source.open()
    assert source.take() == []
    now = 101.0
    assert source.take() == [0, 1]
    now = 102.4
    assert source.take() == [2, 3] and not source.exhausted
    now = 110.0
    assert source.take() == [4] and source.exhausted
    with pytest.raises(ValueError, match="rate"):
        Generator([], rate=0)


def test_generator_without_a_rate_gives_at_most_so_many() -> None:
    source = Generator(range(5), most=3)
    source.open()
    assert source.take() == [0, 1, 2]
    assert source.take() == [3, 4] and source.exhausted


def mqtt_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "colchis-mqtt"]


def test_wrong_settings_of_mqtt_are_said_at_once_and_leave_nothing() -> None:
    source = Mqtt("t", no_such_setting=1)
    with pytest.raises(ColchisError, match="no_such_setting"):
        source.open(timeout=600)
    assert mqtt_threads() == []
    source.close()


def test_mqtt_given_up_at_once_leaves_nothing() -> None:
    # Nobody listens at port 1, and nobody waits until that is clear.
    with pytest.raises(ColchisError, match="no MQTT broker answers"):
        Mqtt("t", port=1).open(timeout=0)
    assert mqtt_threads() == []
