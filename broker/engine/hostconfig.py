"""From a `ContainerSpec` to what the engine is asked for: the one place that builds it.

Whatever the spec says, what leaves here has no privilege, no capability, no device, no namespace
of the host's and no mount but its home and read-only files; a spec that would is refused.
"""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from broker.core.spec import SSHD_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from broker.core.spec import ContainerSpec, FileMount

HOME = "/home/desk"

#: The log of a container, bounded on the host's disk.
LOG_CONFIG = {"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}}
NO_NEW_PRIVILEGES = "no-new-privileges:true"

_OURS = re.compile(r"desk-[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_INSIDE = "nosuid,nodev,exec"
#: Everybody in the container writes there, hence the mode.
_TMP = f"mode=1777,size=512m,{_INSIDE}"
_TARGETS = frozenset({"/etc/passwd", "/etc/group"})
_TARGET_DIRECTORY = PurePosixPath("/etc/desk")
_PORT = f"{SSHD_PORT}/tcp"


def container_config(spec: ContainerSpec) -> dict[str, Any]:
    """The body of the engine's create call. Raises `ValueError` when the spec is not allowed."""
    return {
        "Image": spec.image,
        "Hostname": spec.hostname,
        "User": f"{spec.uid}:{spec.uid}",
        "Env": [f"{name}={value}" for name, value in spec.environment],
        "Labels": dict(spec.labels),
        "ExposedPorts": {_PORT: {}},
        "HostConfig": host_config(spec),
        "NetworkingConfig": {
            "EndpointsConfig": {spec.network: {"IPAMConfig": {"IPv4Address": spec.address}}}
        },
    }


def host_config(spec: ContainerSpec) -> dict[str, Any]:
    """The engine's HostConfig. Raises `ValueError` when the spec is not allowed."""
    for complaint in _complaints(spec):
        raise ValueError(f"container {spec.name!r}: {complaint}")
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": [NO_NEW_PRIVILEGES],
        "ReadonlyRootfs": True,
        "Tmpfs": {
            "/tmp": _TMP,  # noqa: S108 - a mount of the container's own
            # The engine gives a tmpfs the mode of the image's directory: its owner can write anyway.
            "/run": f"mode=755,uid={spec.uid},gid={spec.uid},size=64m,{_INSIDE}",
        },
        "Init": True,
        "IpcMode": "private",
        "NetworkMode": spec.network,
        "PortBindings": {_PORT: [{"HostIp": "127.0.0.1", "HostPort": str(spec.port)}]},
        "Dns": list(spec.resolvers),
        # A single dot keeps the host's own search domains out.
        "DnsSearch": ["."],
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "NanoCpus": round(spec.cpus * 1_000_000_000),
        "PidsLimit": spec.pids,
        "ShmSize": spec.shm,
        "Ulimits": [_ulimit("nofile", 4096), _ulimit("core", 0)],
        "LogConfig": LOG_CONFIG,
        "RestartPolicy": {"Name": "no"},
        "Mounts": [_home(spec.home_volume), *(_file(mount) for mount in spec.files)],
    }


#: What an engine may drop without an error: compared with what it says that it took.
_CHECKED = (
    "Privileged",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
    "Init",
    "NetworkMode",
    "Dns",
    "Memory",
    "MemorySwap",
    "NanoCpus",
    "PidsLimit",
    "ShmSize",
    "Ulimits",
    "LogConfig",
)


def dropped(asked: Mapping[str, Any], taken: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of what was asked for and is not in force, from the engine's own HostConfig."""
    return tuple(name for name in _CHECKED if _plain(asked[name]) != _plain(taken.get(name)))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(json.dumps(item, sort_keys=True) for item in value)
    return value


def _complaints(spec: ContainerSpec) -> Iterator[str]:
    """Why the engine must not be asked for this. To the engine, a limit of zero means none."""
    for what, name in (
        ("name", spec.name),
        ("network", spec.network),
        ("home volume", spec.home_volume),
    ):
        if not _OURS.fullmatch(name):
            yield f"the {what} {name!r} is not one of ours"
    limits = {"memory": spec.memory, "pids": spec.pids, "shm": spec.shm, "uid": spec.uid}
    yield from (f"{name} is {value}" for name, value in limits.items() if value <= 0)
    if not 0.001 <= spec.cpus <= 10_000:
        yield f"cpus is {spec.cpus}"
    if not 0 < spec.port < 65536:
        yield f"the port is {spec.port}"
    if not spec.resolvers:
        yield "it names no resolver, so the engine would ask in the host's name"
    yield from _bad_addresses((spec.address, *spec.resolvers))
    yield from _bad_files(spec.files, spec.session_id)


def _bad_addresses(addresses: Sequence[str]) -> Iterator[str]:
    for address in addresses:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            yield f"{address!r} is not an IPv4 address"


def _bad_files(files: Sequence[FileMount], session_id: str) -> Iterator[str]:
    for mount in files:
        source, target = PurePosixPath(mount.source), PurePosixPath(mount.target)
        if str(target) != mount.target or not _allowed_target(target):
            yield f"a file cannot be mounted at {mount.target!r}"
        if str(source) != mount.source or not source.is_absolute() or ".." in source.parts:
            yield f"the source {mount.source!r} is not a plain absolute path"
        # A session's files lie in the directory of its name, named as inside: nothing of the
        # host's own comes in, not its /etc/passwd and not a socket.
        elif source.name != target.name or source.parent.name != (session_id or None):
            yield f"{mount.source!r} is not a file of the session"


def _allowed_target(target: PurePosixPath) -> bool:
    return str(target) in _TARGETS or (
        target.parent == _TARGET_DIRECTORY and target.name not in {"", ".", ".."}
    )


def _home(volume: str) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": volume,
        "Target": HOME,
        "VolumeOptions": {"NoCopy": True},
    }


def _file(mount: FileMount) -> dict[str, Any]:
    return {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": True}


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}
