"""Which cgroups does this host let us use?"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from colchis_agent.cgroups.base import CgroupTree
from colchis_agent.cgroups.files import UnifiedFolder, make_folder
from colchis_agent.cgroups.none import NoCgroups
from colchis_agent.cgroups.v1 import CONTROLLERS, V1Tree
from colchis_agent.cgroups.v2 import V2Tree


@dataclass(frozen=True, slots=True)
class Mounts:
    """Mount points: of each v1 controller, and of the unified hierarchy if it is mounted."""

    v1: dict[str, Path]
    v2: Path | None


def parse_mounts(mountinfo: str) -> Mounts:
    """Find the cgroup mounts in the text of /proc/self/mountinfo (see proc(5))."""
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        if not tail:
            continue
        point = Path(head.split()[4].replace("\\040", " "))
        kind, _, options = tail.split(" ", 2)
        if kind == "cgroup2":
            v2 = v2 or point
        elif kind == "cgroup":
            for option in options.split(","):
                if option in CONTROLLERS:
                    v1.setdefault(option, point)
    return Mounts(v1, v2)


def parse_membership(text: str) -> dict[str, str]:
    """The lines of /proc/self/cgroup by controller; the unified hierarchy is under ``""``."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def open_tree(root_name: str, fallback: Path | None = None) -> CgroupTree:
    """The best tree this host offers, at ``root_name`` (such as ``colchis/lab/n1``).

    In order: v2 with controllers, v1, v2 that only freezes, and no cgroups at all; the groups of
    the last are recorded in the folder ``fallback``. Never fails for want of rights: it degrades,
    and ``unenforced()`` of the result says what is missing.
    """
    mounts = _mounts()
    try:
        if mounts.v2 is not None and _has_controllers(mounts.v2):
            return _open_v2(mounts.v2, root_name)
    except OSError:
        pass
    if "freezer" in mounts.v1:
        roots = {
            controller: point / root_name
            for controller, point in mounts.v1.items()
            if _can_make(point / root_name)
        }
        if "freezer" in roots:
            return V1Tree(roots)
    if mounts.v2 is not None and _can_make(mounts.v2 / root_name):
        return V2Tree(mounts.v2 / root_name, mounts.v2)
    return NoCgroups(fallback or _default_fallback() / root_name.replace("/", "+"))


def open_own_tree(fallback: Path | None = None) -> CgroupTree:
    """A tree below the caller's own cgroup, for groups of its own children.

    For an executor inside a container whose group was delegated to it: its slots become sub-groups
    that can be frozen and killed apart, while the container's limits go on covering them. Without
    delegation the slots are stopped by SIGSTOP.
    """
    mounts = _mounts()
    own = parse_membership(Path("/proc/self/cgroup").read_text())
    candidates: list[tuple[str, Path]] = []
    if "freezer" in mounts.v1 and "freezer" in own:
        candidates.append(("v1", mounts.v1["freezer"] / own["freezer"].lstrip("/")))
    if mounts.v2 is not None and "" in own:
        candidates.append(("v2", mounts.v2 / own[""].lstrip("/")))
    for kind, folder in candidates:
        # The root cgroup is nobody's own: what is in it was put into no container.
        if folder in {mounts.v2, mounts.v1.get("freezer")} or not os.access(folder, os.W_OK):
            continue
        return V1Tree({"freezer": folder}) if kind == "v1" else V2Tree(folder, None)
    return NoCgroups(fallback or Path(tempfile.mkdtemp(prefix="colchis-groups-")))


def _mounts() -> Mounts:
    return parse_mounts(Path("/proc/self/mountinfo").read_text())


def _has_controllers(folder: Path) -> bool:
    return bool({"cpu", "memory"} & set(str(UnifiedFolder(folder).controllers).split()))


def _open_v2(mount: Path, root_name: str) -> CgroupTree:
    """Below the mount point for root; below the own, delegated cgroup for anybody else.

    A cgroup that hands out controllers may hold no processes itself, so in a delegated one the
    processes that are there, the agent's, move down into the leaf ``_agent`` first.
    """
    if os.access(mount / "cgroup.subtree_control", os.W_OK):
        return V2Tree(mount / root_name, mount)
    own = parse_membership(Path("/proc/self/cgroup").read_text())[""].lstrip("/")
    top = mount / own
    if top.name == "_agent":
        top = top.parent
    if not os.access(top / "cgroup.subtree_control", os.W_OK):
        raise PermissionError(f"{top} is not delegated to us")
    leaf = UnifiedFolder(top / "_agent")
    leaf.path.mkdir(exist_ok=True)
    for pid in UnifiedFolder(top).procs:
        leaf.procs = [pid]
    return V2Tree(top / root_name, top)


def _can_make(folder: Path) -> bool:
    try:
        make_folder(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _default_fallback() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime or tempfile.gettempdir()) / f"colchis-groups-{os.getuid()}"
