"""What the kernel counts for a container, read from its cgroup."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def cpu_seconds(
    container: str,
    pid: int,
    *,
    proc: Path = Path("/proc"),
    cgroups: Path = Path("/sys/fs/cgroup"),
) -> float | None:
    """The CPU time of the container with that id, whose first process has that pid.

    None where it is not to be seen: the container is gone, or the engine runs on another machine.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text("utf-8").splitlines()
        return _read(dict(_paths(lines)), container, cgroups)
    except (OSError, LookupError, ValueError):
        return None


def _paths(lines: list[str]) -> list[tuple[str, str]]:
    """Controller to path; the second version has one path, under the empty name."""
    found = []
    for line in lines:
        _hierarchy, controllers, path = line.split(":", 2)
        found += [(controller, path) for controller in controllers.split(",")]
    return found


def _read(paths: dict[str, str], container: str, cgroups: Path) -> float:
    if "cpuacct" in paths:
        group = cgroups / "cpuacct" / _of(container, paths["cpuacct"])
        return int((group / "cpuacct.usage").read_text("ascii")) / 1e9
    group = cgroups / _of(container, paths[""])
    stat = dict(line.split() for line in (group / "cpu.stat").read_text("ascii").splitlines())
    return int(stat["usage_usec"]) / 1e6


def _of(container: str, path: str) -> PurePosixPath:
    """The container's own group in the path of one of its processes. A path without the
    container's id is another's: the pid was given to somebody else meanwhile.
    """
    group = PurePosixPath(path)
    for part in (group, *group.parents):
        if container in part.name:
            return part.relative_to("/")
    raise LookupError(path)
