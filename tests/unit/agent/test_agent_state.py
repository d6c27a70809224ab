"""What an agent keeps on disk."""

from pathlib import Path

import pytest

from colchis.wire.messages import Exit, Start
from colchis_agent.core.lifecycle import Phase
from colchis_agent.core.record import Record
from colchis_agent.driver import ContainerRef
from colchis_agent.service.state import State, StateError


def record(container: str = "app/web/0") -> Record:
    start = Start(3, 7, container, 2, ["sleep", "1"], {"A": "b"}, {"cpus": 500}, "always")
    return Record(
        container=container,
        incarnation=2,
        start=start,
        phase=Phase.BACKING_OFF,
        exit=Exit("oom", signal=9),
        last=(3, 9),
    )


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    state.save_record(record())
    state.save_record(record("app/web/1"))
    state.save_master(5, "http://master:7641")
    state.forget("app/web/1")
    state.close()
    again = State(tmp_path / "state")
    records, master = again.load()
    assert records == (record(),)
    assert (master.epoch, master.api) == (5, "http://master:7641")
    assert not again.problems
    again.close()


def test_records_are_nobody_elses_business(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.save_record(record())
    token = state.write_private(ContainerRef("app/web/0", 1), "token", "secret", None)
    assert token.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "records").stat().st_mode & 0o777 == 0o700
    state.remove_private(ContainerRef("app/web/0", 1))
    assert not token.exists()
    state.close()


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_file_is_set_aside_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    state = State(tmp_path)
    state.save_record(record())
    state.save_record(record("app/web/1"))
    [file] = (tmp_path / "records").glob("app+web+1*")
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[-10] ^= 4
    file.write_bytes(bytes({"torn": data[:-20], "flipped": data, "empty": bytearray()}[damage]))
    assert state.load()[0] == (record(),)
    assert len(state.problems) == 1
    assert "set aside" in state.problems[0]
    assert len(list((tmp_path / "records").glob("*.damaged"))) == 1
    state.close()


def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.save_record(record())
    [file] = (tmp_path / "records").glob("*.json")
    head, _, body = file.read_bytes().partition(b"\n")
    newer = head.split()[0] + b" 99\n" + body
    file.write_bytes(newer)
    with pytest.raises(StateError, match="newer agent"):
        state.load()
    assert file.read_bytes() == newer
    state.close()


def test_a_folder_has_one_agent(tmp_path: Path) -> None:
    first = State(tmp_path)
    with pytest.raises(StateError, match="another agent"):
        State(tmp_path)
    first.close()
    State(tmp_path).close()


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    state = State(tmp_path)
    (tmp_path / "records").rmdir()
    with pytest.raises(StateError, match="cannot be written"):
        state.save_record(record())
    state.close()
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        State(tmp_path / "file")
