"""The container of a session as a value, and the one place that decides what it may be.

Nothing here takes a mount path, an image or a privilege from a user: `container_spec` knows the
template and the leases alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from broker.core.model import Desktop, InstanceId, Session, Template

#: Where the unprivileged sshd of a desktop listens, inside its container.
SSHD_PORT = 2222

LABEL_INSTANCE = "desk.instance"
LABEL_DESKTOP = "desk.desktop"
LABEL_SESSION = "desk.session"
LABEL_SPEC = "desk.spec"


@dataclass(frozen=True, slots=True)
class FileMount:
    """One file of the broker's, bound read-only into the container."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything that a container is made from. What is not here, no container of ours has:
    no capability, no privilege, no device, no host namespace, no writable root.
    """

    name: str
    image: str
    hostname: str
    uid: int
    environment: tuple[tuple[str, str], ...]
    files: tuple[FileMount, ...]
    home_volume: str
    network: str
    address: str
    port: int
    """The leased host port, published on loopback for `SSHD_PORT`."""
    resolvers: tuple[str, ...]
    memory: int
    cpus: float
    pids: int
    shm: int
    labels: tuple[tuple[str, str], ...]

    @property
    def session_id(self) -> str:
        return dict(self.labels)[LABEL_SESSION]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFiles:
    """The directory on the broker's side that holds a session's keys and generated files."""

    directory: PurePosixPath

    @property
    def mounts(self) -> tuple[FileMount, ...]:
        return tuple(
            FileMount(str(self.directory / name), target)
            for name, target in (
                ("host_key", "/etc/desk/host_key"),
                ("authorized_keys", "/etc/desk/authorized_keys"),
                ("passwd", "/etc/passwd"),
                ("group", "/etc/group"),
            )
        )


def container_name(session_id: str) -> str:
    return f"desk-{session_id}"


def home_volume(desktop_id: str) -> str:
    return f"desk-home-{desktop_id}"


def network_name(instance: str) -> str:
    return f"desk-{instance}"


def bridge_name(instance: str) -> str:
    """At most 15 characters, as the kernel wants it, and beginning with `desk`."""
    return f"desk{instance[:11]}"


def container_spec(
    *,
    instance: InstanceId,
    desktop: Desktop,
    session: Session,
    template: Template,
    user: str,
    files: SessionFiles,
    resolvers: tuple[str, ...],
) -> ContainerSpec:
    """Build the spec of a session that holds its leases; raises `ValueError` when it does not."""
    if session.port is None or session.display is None or session.address is None:
        raise ValueError(f"session {session.id} holds no leases")
    environment = {
        "DESK_DISPLAY": str(session.display),
        "DESK_GEOMETRY": template.geometry,
        "DESK_SESSION": session.id,
        "DESK_USER": user,
    }
    labels = {
        LABEL_INSTANCE: instance,
        LABEL_DESKTOP: desktop.id,
        LABEL_SESSION: session.id,
    }
    spec = ContainerSpec(
        name=container_name(session.id),
        image=session.image,
        hostname=desktop.id,
        uid=desktop.uid,
        environment=tuple(sorted(environment.items())),
        files=files.mounts,
        home_volume=home_volume(desktop.id),
        network=network_name(instance),
        address=session.address,
        port=session.port,
        resolvers=resolvers,
        memory=template.memory,
        cpus=template.cpus,
        pids=template.pids,
        shm=template.shm,
        labels=tuple(sorted(labels.items())),
    )
    return with_hash(spec)


def with_hash(spec: ContainerSpec) -> ContainerSpec:
    """The same spec with the label that tells containers of one make from another's."""
    labels = {name: value for name, value in spec.labels if name != LABEL_SPEC}
    bare = replace(spec, labels=tuple(sorted(labels.items())))
    text = json.dumps(asdict(bare), sort_keys=True)
    labels[LABEL_SPEC] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return replace(spec, labels=tuple(sorted(labels.items())))
