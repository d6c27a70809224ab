"""Settings of an agent: from a file, from flags, and what is wrong with them."""

from pathlib import Path

import pytest

from colchis.errors import InputError
from colchis_agent.service.settings import load_settings

WHOLE = """\
node: n1
master: tcp://10.0.0.1:7640
master_key: /etc/colchis/master.pub
key: /etc/colchis/n1.key
state: /var/lib/colchis
cpus: 1.5
memory: 2GiB
extras: {gpus: 1}
groups: {rack: r1, upgrade_domain: [u1, u4]}
attributes: {arch: x86_64, ssd: true}
ports: [21000, 21010]
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "agent.yaml"
    file.write_text(text)
    return file


def test_a_file_is_read(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, WHOLE))
    assert settings.node == "n1"
    assert settings.capacity() == {"cpus": 1500, "memory": 2 << 30, "gpus": 1}
    assert settings.groups == {"rack": ("r1",), "upgrade_domain": ("u1", "u4")}
    assert settings.attributes == {"arch": "x86_64", "ssd": "true"}
    assert settings.ports == (21000, 21010)
    assert settings.shared


def test_flags_take_the_place_of_what_the_file_says(tmp_path: Path) -> None:
    flags = {"node": "n2", "cpus": "0.5", "memory": None, "ports": [1000, 1001]}
    settings = load_settings(write(tmp_path, WHOLE), flags)
    assert (settings.node, settings.cpus, settings.memory) == ("n2", 500, 2 << 30)
    assert settings.ports == (1000, 1001)


def test_flags_alone_are_enough_and_take_the_whole_host() -> None:
    flags = {"node": "n1", "master": "tcp://h:1", "master_key": "m", "key": "k", "state": "s"}
    settings = load_settings(None, flags)
    assert not settings.shared
    assert settings.capacity()["memory"] > 0
    assert settings.state.is_absolute()


def test_agents_with_folders_of_their_own_have_cgroups_of_their_own(tmp_path: Path) -> None:
    file = write(tmp_path, WHOLE)
    one, two = load_settings(file, {"state": "/a"}), load_settings(file, {"state": "/b"})
    assert one.cgroup_root != two.cgroup_root
    assert one.cgroup_root == load_settings(file, {"state": "/a"}).cgroup_root


def test_every_mistake_is_named_with_its_place(tmp_path: Path) -> None:
    text = (
        WHOLE.replace("tcp://10.0.0.1:7640", "10.0.0.1")
        .replace("cpus: 1.5", "cpus: many")
        .replace("ports: [21000, 21010]", "ports: [9, 3]\nuser: nobody-at-all\nprots: 1")
        .replace("state: /var/lib/colchis\n", "")
    )
    with pytest.raises(InputError) as caught:
        load_settings(write(tmp_path, text))
    found = {(problem.line, problem.field) for problem in caught.value.problems}
    assert {(2, "master"), (5, "cpus"), (10, "ports"), (11, "user"), (12, "prots")} <= found
    assert any("state" in problem.field for problem in caught.value.problems)
    assert all(problem.file.endswith("agent.yaml") for problem in caught.value.problems)
