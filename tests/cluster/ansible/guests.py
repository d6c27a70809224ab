"""Hosts with systemd, ssh and a kernel of their own, in a network of their own.

They are User Mode Linux guests: processes of this machine, on a bridge in a network namespace that
nothing else can reach. System calls are slow in there, so deadlines are generous.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[3]
PREFIX = "10.77.0"
BOOT_DEADLINE = 180.0
COMMAND_DEADLINE = 600.0
SSH = (
    "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
    "-o ControlMaster=auto -o ControlPersist=300s -o ConnectTimeout=20"
)


def obstacle() -> str:
    """Why there can be no guests on this machine; empty where nothing is known to be in the way."""
    if os.geteuid() != 0:
        return "guests need root"
    if not Path("/dev/net/tun").exists():
        return "guests need /dev/net/tun"
    if os.uname().machine != "x86_64" or shutil.which("apt-get") is None:
        return "guests need a Debian machine of x86_64"
    return ""


def run(*command: str | Path, **options: Any) -> str:
    """Standard output of a command that succeeds; AssertionError with all output where not."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_DEADLINE,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command}: code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Lab:
    """A network namespace with guests in it; use as a context manager.

    ``folder`` gets their roots and keys. ``names`` are the guests', who get the addresses
    10.77.0.11, 10.77.0.12 and so on.
    """

    folder: Path
    names: Sequence[str]
    memory: str = "1G"
    sessions: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return f"colchis-lab-{os.getpid()}"

    @property
    def key(self) -> Path:
        return self.folder / "ssh-key"

    def address(self, name: str) -> str:
        """Where a guest is reached from inside the namespace."""
        return f"{PREFIX}.{11 + list(self.names).index(name)}"

    def inside(self, *command: str | Path, **options: Any) -> str:
        """As ``run``, in the lab's network."""
        return run("ip", "netns", "exec", self.namespace, *command, **options)

    def __enter__(self) -> "Lab":
        try:
            base = Path(run(PROJECT / "scripts" / "guest-root", "systemd").strip())
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
            self._wire()
            for name in self.names:
                self._start(name, base)
            for name in self.names:
                self._wait(name)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wire(self) -> None:
        run("ip", "netns", "add", self.namespace)
        steps = ["link set lo up", "link add lab0 type bridge", f"addr add {PREFIX}.1/24 dev lab0"]
        for tap in self._taps():
            steps += [f"tuntap add {tap} mode tap", f"link set {tap} master lab0 up"]
        # A guest stalls on segments larger than a frame.
        steps += [f"link set {device} gso_max_segs 1" for device in ("lab0", *self._taps())]
        for step in [*steps, "link set lab0 up"]:
            self.inside("ip", *step.split())

    def _taps(self) -> list[str]:
        return [f"tap{number}" for number in range(len(self.names))]

    def _start(self, name: str, base: Path) -> None:
        root = self.folder / name
        run("cp", "-a", "--reflink=auto", base, root)
        authorized = root / "root" / ".ssh" / "authorized_keys"
        authorized.write_text(self.key.with_suffix(".pub").read_text())
        authorized.chmod(0o600)
        (root / "etc" / "hostname").write_text(f"{name}\n")
        # On the root, a folder of this machine, whatever is made belongs to this machine's root.
        (root / "etc" / "fstab").write_text("tmpfs /srv tmpfs mode=755 0 0\n")
        number = list(self.names).index(name)
        with (self.folder / f"{name}.console").open("wb") as console:
            self.sessions[name] = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.namespace, PROJECT / "scripts" / "guest-kernel"),
                    *(f"mem={self.memory}", "root=/dev/root", "rootfstype=hostfs"),
                    *(f"rootflags={root}", "rw", "con=null", "con0=null,fd:1", "quiet"),
                    f"vec0:transport=tap,ifname=tap{number},depth=64",
                    *(f"guest_ip={self.address(name)}/24", "systemd.unified_cgroup_hierarchy=1"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The kernel keeps the guest's memory in a file there.
                env={**os.environ, "TMPDIR": "/dev/shm"},
            )

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + BOOT_DEADLINE
        while True:
            try:
                self.ssh(name, "true")
                return
            except (AssertionError, subprocess.TimeoutExpired):
                if time.monotonic() > deadline or self.sessions[name].poll() is not None:
                    console = (self.folder / f"{name}.console").read_text(errors="replace")
                    raise AssertionError(f"{name} does not come up:\n{console[-3000:]}") from None
                time.sleep(0.5)

    def ssh(self, name: str, command: str) -> str:
        """Standard output of a shell command in a guest."""
        control = f"-o ControlPath={self.folder}/%h -i {self.key}"
        options = f"{SSH} {control}".split()
        return self.inside("ssh", *options, f"root@{self.address(name)}", command)

    def python(self, name: str, program: str) -> Any:
        """What a Python program prints in a guest, read as JSON."""
        encoded = program.encode().hex()
        return json.loads(self.ssh(name, f"python3 -c 'exec(bytes.fromhex(\"{encoded}\"))'"))

    def cut(self, name: str) -> None:
        """Take the power of a guest away."""
        session = self.sessions.pop(name)
        # A guest is many processes; all of them are in the session that was made for it.
        subprocess.run(["pkill", "-KILL", "-s", str(session.pid)], check=False)
        session.wait()

    def close(self) -> None:
        """End the guests, and remove the network and their roots."""
        for name in list(self.sessions):
            for control in self.folder.glob(f"{self.address(name)}"):
                options = ["-o", f"ControlPath={control}", "-O", "exit", "guest"]
                subprocess.run(["ssh", *options], check=False, capture_output=True)
            self.cut(name)
        subprocess.run(["ip", "netns", "del", self.namespace], check=False, capture_output=True)
        for name in self.names:
            shutil.rmtree(self.folder / name, ignore_errors=True)
