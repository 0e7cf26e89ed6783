"""Removing what one instance made: its containers, homes, bridge, rules and files, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import DockerException, NotFound

from broker.cli import up_memory
from broker.core.errors import EngineUnavailable, FirewallFailed, StateUnusable
from broker.core.spec import LABEL_INSTANCE
from broker.system.nft import Nftables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.cli.up_memory import Memory
    from broker.cli.up_place import Place

#: Everything that the broker and `make up` write into a state. What else lies there stays.
STATE_FILES = (
    "desk.yaml",
    "desk.db",
    "desk.db-wal",
    "desk.db-shm",
    "desk.db-journal",
    "lock",
    "migrate.lock",
    "admin.sock",
    "gateway.sock",
    "audit.key",
    "audit.key.new",
    "audit.key.new-part",
    "ssh_host_key",
    "ssh_host_key.pub",
    "ssh_host_key.new",
    "deskd.log",
    "deskd.log.1",
    "id_ed25519",
    "id_ed25519.pub",
    "known_hosts",
    up_memory.NAME,
    ".up.json.new",
    ".desk.yaml.new",
)
STATE_DIRECTORIES = ("sessions", "archive", "doors", "backup.part", "restore.part")
REACH_FILES = ("id_ed25519", "id_ed25519.pub", "known_hosts")


@dataclass(frozen=True, slots=True)
class Found:
    """What of an instance is on the engine."""

    containers: list[Any]
    volumes: list[Any]
    networks: list[Any]

    def __str__(self) -> str:
        return ", ".join(
            f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
            for things, name in (
                (self.containers, "container"),
                (self.volumes, "home"),
                (self.networks, "network"),
            )
        )


def instance_of(place: Place) -> str | None:
    """The instance's id from its database; None where nothing was ever started."""
    database = place.state / "desk.db"
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT id FROM instance").fetchone()
    except sqlite3.OperationalError as error:
        # A database of before the first migration has nothing on the engine.
        if "no such table" in str(error):
            return None
        raise _unreadable(database, error) from error
    except sqlite3.DatabaseError as error:
        raise _unreadable(database, error) from error
    return row[0] if row else None


def _unreadable(database: Path, error: sqlite3.Error) -> StateUnusable:
    return StateUnusable(
        public=f"{database}: cannot be read ({error}), so what belongs to this instance is not"
        " known; nothing was removed."
    )


@contextmanager
def engine(address: str) -> Iterator[docker.DockerClient]:
    """Raises `EngineUnavailable`, also for whatever fails inside."""
    try:
        _demand_listener(address)
        with closing(docker.DockerClient(base_url=address, timeout=120)) as client:
            client.ping()
            yield client
    except (OSError, DockerException) as error:
        raise EngineUnavailable(
            public=f"The container engine at {address} does not answer or failed ({error})."
            " Start it (Desk's own: docker/engine.sh up), then purge again."
        ) from error


def _demand_listener(address: str) -> None:
    """Raises `OSError` in the kernel's own words, which the library would bury in its own."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(5)
        probe.connect(address.removeprefix("unix://"))


def look(client: docker.DockerClient, instance: str) -> Found:
    labelled: dict[str, Any] = {"label": f"{LABEL_INSTANCE}={instance}"}
    return Found(
        client.containers.list(all=True, filters=labelled, ignore_removed=True),
        client.volumes.list(filters=labelled),
        client.networks.list(filters=labelled),
    )


def remove(found: Found) -> None:
    """Containers first: they hold the rest. Gone already is success."""
    for container in found.containers:
        _unless_gone(container.remove, force=True, v=True)
    for volume in found.volumes:
        _unless_gone(volume.remove)
    for network in found.networks:
        _unless_gone(network.remove)


def _unless_gone(call: Any, **options: bool) -> None:
    try:
        call(**options)
    except NotFound:
        return


def remove_rules(instance: str) -> str | None:
    """Remove the network's rules of the instance; returns why that could not be done."""
    try:
        asyncio.run(Nftables().remove(instance))
    except FirewallFailed as error:
        return str(error)
    return None


def remove_files(place: Place, memory: Memory) -> list[Path]:
    """Remove the files that Desk knows, and directories that are empty then. Returns what stays in
    the state because Desk did not make it.
    """
    for reach in memory.reach:
        _remove_known(Path(reach), REACH_FILES)
        _remove_known(Path(reach).parent, ())
    for copy in place.state.glob("desk.db.*.backup"):
        copy.unlink(missing_ok=True)
    for name in STATE_DIRECTORIES:
        if not (place.state / name).is_symlink():
            shutil.rmtree(place.state / name, ignore_errors=True)
    return _remove_known(place.state, STATE_FILES)


def _remove_known(directory: Path, names: tuple[str, ...]) -> list[Path]:
    if not directory.is_dir():
        return []
    for name in names:
        (directory / name).unlink(missing_ok=True)
    left = sorted(directory.iterdir())
    if not left:
        directory.rmdir()
    return left
