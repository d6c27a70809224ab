"""Blank hosts, a controller's folder, and the playbooks."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.ansible.guests import COMMAND_DEADLINE, PROJECT, SSH, Lab, obstacle, run

BIN = PROJECT / ".venv" / "bin"
HOSTS = {"a": "u1", "b": "u2"}
EXAMPLES = ("hbase", "tensorflow")

_CONTAINERS = """
import glob, json
found = {}
for file in glob.glob("/sys/fs/cgroup/colchis.slice/containers/**/cgroup.procs", recursive=True):
    for pid in open(file).read().split():
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        line = open(f"/proc/{pid}/cmdline").read().replace("\\0", " ").strip()
        # The agent's own child that forks shims ends with it; shims, which are alike, are nobody's.
        if "shim.py --serve" not in line or fields[1] == "1":
            found[pid] = [fields[19], line]
print(json.dumps(found))
"""


@dataclass
class Controller:
    """The operator's machine: inventory, wheels and secrets in ``folder``."""

    lab: Lab
    folder: Path

    def play(self, book: str, *options: str) -> dict[str, dict[str, int]]:
        """Run a playbook; the recap by host. AssertionError where it fails."""
        # ssh's shared connections outlive the playbook and would hold a pipe open.
        log = self.folder / f"{book}.log"
        with log.open("w") as file:
            command = ["ip", "netns", "exec", self.lab.namespace, str(BIN / "ansible-playbook")]
            done = subprocess.run(
                [*command, "-i", str(self.folder / "lab.yml"), f"{book}.yml", *options],
                cwd=PROJECT / "ansible",
                env={**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "ssh")},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_DEADLINE,
                check=False,
            )
        output = log.read_text()
        assert done.returncode == 0, output
        recap = output.rpartition("PLAY RECAP")[2]
        counts = {
            line.split(":")[0].strip(): {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}
            for line in recap.splitlines()
            if "ok=" in line
        }
        assert counts, output
        return counts

    def inventory(self, *agents: str) -> None:
        """Write the inventory: the first host is the master's, these run containers."""
        (self.folder / "lab.yml").write_text(yaml.safe_dump(self._inventory(agents)))

    def _inventory(self, agents: Sequence[str]) -> dict[str, Any]:
        settings = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.lab.key),
            "ansible_ssh_common_args": SSH,
            "colchis_cluster": "lab",
            "colchis_secrets": str(self.folder / "secrets"),
            "colchis_wheels": str(self.folder / "wheels"),
            "colchis_examples": str(self.folder / "examples"),
            "colchis_packages": ["numpy"],
            "colchis_master_state": "/srv/colchis-master",
            "colchis_agent_state": "/srv/colchis-agent",
            "colchis_agent_settings": {"attributes": {"disk": "ssd"}, "cpus": 3},
        }
        hosts = {
            name: {
                "ansible_host": self.lab.address(name),
                "rack": "r1",
                "upgrade_domains": [domain],
            }
            for name, domain in HOSTS.items()
        }
        children = {
            "masters": {"hosts": {next(iter(HOSTS)): {}}},
            "agents": {"hosts": {name: hosts[name] for name in agents}},
        }
        return {
            "all": {"hosts": {"a": hosts["a"]}, "vars": settings, "children": children},
        }

    def outside(self, *command: str | Path) -> str:
        """What a command prints that has the operator's connection file."""
        connection = str(self.folder / "secrets" / "connection.json")
        return self.lab.inside(*command, env={**os.environ, "COLCHIS_CONNECTION": connection})

    def colchis(self, *words: str | Path) -> Any:
        """What the command answers in JSON, or None where it answers nothing."""
        output = self.outside(BIN / "colchis", *words)
        return json.loads(output) if "-o" in words else None

    def spec(self, name: str, changes: dict[str, str]) -> Path:
        """The spec of an example as it lies on the hosts, with other words in it."""
        text = (PROJECT / "examples" / name / f"{name}.yaml").read_text()
        text = text.replace("${SPEC_DIR}", f"/opt/colchis/examples/{name}")
        for old, new in changes.items():
            text = text.replace(old, new)
        file = self.folder / f"{name}.yaml"
        file.write_text(text)
        return file

    def processes(self) -> dict[str, Any]:
        """Start time and command line by pid of all that runs in containers, by host; but for
        executors, who start and end processes of their own."""
        return {
            name: {
                pid: found
                for pid, found in self.lab.python(name, _CONTAINERS).items()
                if "colchis_agent.executor" not in found[1]
            }
            for name in self.lab.names
        }

    def new_version(self) -> str:
        """Replace the project's wheel by one of a later version; returns that."""
        source = self.folder / "source"
        source.mkdir()
        for name in ("common", "master", "agent"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / name, source / name, ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(PROJECT / name, source)
        version = "99.0.0"
        for file in (source / "pyproject.toml", source / "common" / "colchis" / "__init__.py"):
            stated = re.compile(r'^(version|__version__) = ".*"', re.MULTILINE)
            text = stated.sub(rf'\1 = "{version}"', file.read_text())
            file.write_text(text)
        wheels = self.folder / "wheels"
        for old in wheels.glob("colchis-*.whl"):
            old.unlink()
        pip = (BIN / "python", "-m", "pip", "wheel", "--quiet", "--no-deps")
        run(*pip, "--wheel-dir", wheels, source)
        return version


@pytest.fixture(scope="session")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """Two blank hosts, and all a controller needs to deploy to them; nothing is deployed."""
    reason = obstacle()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("controller")
    # Wheels that were fetched stay there for other runs.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "colchis" / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    wheels = folder / "wheels"
    shutil.copytree(cache, wheels, ignore=shutil.ignore_patterns("colchis-*", ".*"))
    run(PROJECT / "scripts" / "wheels", wheels)
    for wheel in wheels.glob("*.whl"):
        if not wheel.name.startswith("colchis-"):
            shutil.copy(wheel, cache)
    examples = folder / "examples"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in EXAMPLES:
        shutil.copytree(PROJECT / "examples" / name, examples / name, ignore=ignored)
    with Lab(tmp_path_factory.mktemp("guests"), tuple(HOSTS)) as lab:
        yield Controller(lab, folder)
