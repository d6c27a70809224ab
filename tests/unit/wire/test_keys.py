"""Key files and the list of allowed keys."""

from pathlib import Path

import pytest

from colchis.errors import InputError
from colchis.wire.keys import (
    AllowList,
    generate,
    load_allowed,
    load_or_generate,
    load_pair,
    load_public,
    write_pair,
    write_public,
)


def test_a_pair_comes_back_from_its_files(tmp_path: Path) -> None:
    pair = generate()
    secret = write_pair(pair, tmp_path, "n1")
    assert load_pair(secret) == pair
    assert load_public(tmp_path / "n1.pub") == pair.public
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "n1.pub").stat().st_mode & 0o777 == 0o644


def test_a_secret_is_never_overwritten_and_never_printed(tmp_path: Path) -> None:
    pair = load_or_generate(tmp_path, "n1")
    assert load_or_generate(tmp_path, "n1") == pair
    with pytest.raises(FileExistsError):
        write_pair(generate(), tmp_path, "n1")
    assert pair.secret not in repr(pair)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = write_pair(generate(), tmp_path, "n1")
    secret.chmod(0o640)
    with pytest.raises(InputError, match="0640"):
        load_pair(secret)


def test_something_else_than_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n1.pub").write_text("not a key\n")
    with pytest.raises(InputError, match=r"n1.pub.*40 characters"):
        load_public(tmp_path / "n1.pub")
    with pytest.raises(InputError, match="no key can be read"):
        load_pair(tmp_path / "absent.key")


def test_a_folder_names_keys_by_its_files(tmp_path: Path) -> None:
    one, two = generate().public, generate().public
    write_public(one, tmp_path, "n1")
    write_public(two, tmp_path, "executor/app")
    assert load_allowed(tmp_path) == {one: "n1", two: "executor/app"}


def test_a_file_gives_all_its_mistakes_at_once(tmp_path: Path) -> None:
    one, two = generate().public, generate().public
    file = tmp_path / "allowed"
    file.write_text(f"# ours\nn1 {one}\nn1 {two}\n\n")
    assert load_allowed(file) == {one: "n1", two: "n1"}
    file.write_text(f"n1 {one}\nn2\nn3 {one}\nn4 xyz\n")
    with pytest.raises(InputError) as caught:
        load_allowed(file)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]


def test_a_list_follows_its_folder(tmp_path: Path) -> None:
    allowed = AllowList(tmp_path)
    key = generate().public
    assert allowed.identity(key) is None
    path = write_public(key, tmp_path, "n1")
    assert allowed.identity(key) == "n1"
    path.unlink()
    assert allowed.identity(key) is None


def test_a_list_with_a_mistake_admits_nobody_until_it_is_mended(tmp_path: Path) -> None:
    key = generate().public
    write_public(key, tmp_path, "n1")
    allowed = AllowList(tmp_path)
    assert allowed.identity(key) == "n1"
    (tmp_path / "n2.pub").write_text("torn")
    assert allowed.identity(key) is None
    assert "n2.pub" in allowed.problem
    (tmp_path / "n2.pub").unlink()
    assert allowed.identity(key) == "n1"
    assert not allowed.problem


def test_a_list_that_is_not_there_admits_nobody(tmp_path: Path) -> None:
    assert AllowList(tmp_path / "absent").identity(generate().public) is None
