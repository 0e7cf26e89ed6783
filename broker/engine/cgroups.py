"""What the kernel knows of a container, read from its cgroup; and the one thing that is written there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def cpu_seconds(
    container: str, pid: int, *, proc: Path = _PROC, cgroups: Path = _CGROUPS
) -> float | None:
    """The CPU time of the container with that id, whose first process has that pid.

    None where it is not to be seen: the container is gone, or the engine runs on another machine.
    """
    try:
        return _read(_paths(proc, pid), container, cgroups)
    except (OSError, LookupError, ValueError):
        return None


def memory_bytes(
    container: str, pid: int, *, proc: Path = _PROC, cgroups: Path = _CGROUPS
) -> int | None:
    """The memory that it holds, without the files' pages that the kernel can let go of. None as
    above.
    """
    try:
        return _held(_paths(proc, pid), container, cgroups)
    except (OSError, LookupError, ValueError):
        return None


def is_frozen(
    container: str, pid: int, *, proc: Path = _PROC, cgroups: Path = _CGROUPS
) -> bool | None:
    """Whether the container's processes are frozen, or are just being so. None as above."""
    try:
        file, frozen, _thawed = _freezer(_paths(proc, pid), container, cgroups)
        return file.read_text("ascii").strip() in frozen
    except (OSError, LookupError, ValueError):
        return None


def set_frozen(
    container: str,
    pid: int,
    *,
    frozen: bool,
    proc: Path = _PROC,
    cgroups: Path = _CGROUPS,
) -> bool:
    """Freeze the container's processes or let them go on; whether that could be said."""
    try:
        file, stop, go = _freezer(_paths(proc, pid), container, cgroups)
        file.write_text(stop[0] if frozen else go, "ascii")
    except (OSError, LookupError, ValueError):
        return False
    return True


def _freezer(
    paths: dict[str, str], container: str, cgroups: Path
) -> tuple[Path, tuple[str, ...], str]:
    """The file of its freezer, the words there for frozen, and the one for not."""
    if "freezer" in paths:
        group = cgroups / "freezer" / _of(container, paths["freezer"])
        return group / "freezer.state", ("FROZEN", "FREEZING"), "THAWED"
    return cgroups / _of(container, paths[""]) / "cgroup.freeze", ("1",), "0"


def _paths(proc: Path, pid: int) -> dict[str, str]:
    """Controller to path; the second version has one path, under the empty name."""
    found: dict[str, str] = {}
    for line in (proc / str(pid) / "cgroup").read_text("utf-8").splitlines():
        _hierarchy, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _read(paths: dict[str, str], container: str, cgroups: Path) -> float:
    if "cpuacct" in paths:
        group = cgroups / "cpuacct" / _of(container, paths["cpuacct"])
        return int((group / "cpuacct.usage").read_text("ascii")) / 1e9
    group = cgroups / _of(container, paths[""])
    stat = dict(line.split() for line in (group / "cpu.stat").read_text("ascii").splitlines())
    return int(stat["usage_usec"]) / 1e6


def _held(paths: dict[str, str], container: str, cgroups: Path) -> int:
    if "memory" in paths:
        group = cgroups / "memory" / _of(container, paths["memory"])
        name, idle = "memory.usage_in_bytes", "total_inactive_file"
    else:
        group = cgroups / _of(container, paths[""])
        name, idle = "memory.current", "inactive_file"
    stat = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
    return max(0, int((group / name).read_text("ascii")) - int(stat.get(idle, 0)))


def _of(container: str, path: str) -> PurePosixPath:
    """The container's own group in the path of one of its processes. A path without the
    container's id is another's: the pid was given to somebody else meanwhile.
    """
    group = PurePosixPath(path)
    for part in (group, *group.parents):
        if container in part.name:
            return part.relative_to("/")
    raise LookupError(path)
