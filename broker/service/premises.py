"""What a broker needs of its host: files that are its own alone, room, descriptors, and leftovers of
what was killed. Everything here blocks, and works whether a broker runs or not.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from broker.core.findings import Finding
from broker.core.words import spoken_size
from broker.service.archives import RESERVE
from broker.service.backup import PART as BACKUP_PART
from broker.service.restore import PART as RESTORE_PART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.config import Config

_OTHERS = 0o077

#: Of the state: what nobody but its owner may read. Sockets and what is bound into containers have
#: modes of their own.
_PRIVATE = re.compile(
    r"desk\.db(-wal|-shm|\..*backup)?|audit\.key(\.new)?|ssh_host_key|sessions|archive"
    r"|archive/.*\.tar\.gz|sessions/[0-9a-f]{16}|sessions/[0-9a-f]{16}/(client_key|host_key\.pub)"
)

#: Descriptors of a door for each connection.
_PER_CONNECTION = 3


@dataclass(frozen=True, slots=True)
class Repair:
    """A finding, and the deed that mends it where there is one."""

    finding: Finding
    deed: Callable[[], None] | None = None


def examine(config: Config, *, owner: int, holder: int | None) -> Iterator[Repair]:
    """`owner` is whose the state is, `holder` the process that uses it now."""
    yield from _files(config.state, owner)
    yield from _public_half(config.state / "ssh_host_key")
    yield from _secrets(config)
    yield from _leftovers(config.state, holder)
    yield from _space(config.state)
    if holder is not None:
        yield from _descriptors(config, holder)


def _files(state: Path, owner: int) -> Iterator[Repair]:
    for path in sorted((state, *state.rglob("*"))):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        name = "." if path == state else str(path.relative_to(state))
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            continue  # a link leads to what is not ours, and a socket may be the doors'
        if status.st_uid != owner:
            yield _deed(
                "files",
                f"{path} belongs to uid {status.st_uid}, and the state to {owner}",
                "give it to its owner",
                partial(os.chown, path, owner, -1, follow_symlinks=False),
            )
        mode = stat.S_IMODE(status.st_mode)
        allowed = 0o710 if path == state else 0o700
        if (path == state or _PRIVATE.fullmatch(name)) and mode & 0o777 & ~allowed:
            fit = mode & allowed
            yield _deed(
                "files",
                f"{path} has mode {mode:04o}, so that others may use it",
                f"make it {fit:04o}",
                partial(os.chmod, path, fit),
            )


def give_back(state: Path, owner: int) -> None:
    """Whatever this process made there becomes its owner's."""
    if os.geteuid() == owner:
        return
    for path in state.rglob("*"):
        if path.lstat().st_uid == os.geteuid() and not path.is_symlink():
            os.chown(path, owner, -1)


def _public_half(key: Path) -> Iterator[Repair]:
    public = key.with_suffix(".pub")
    try:
        wanted = asyncssh.read_private_key(key)
    except (OSError, asyncssh.KeyImportError) as error:
        if key.exists():
            yield _hand("files", f"{key} cannot be read ({error})", "put it back from a backup")
        return
    try:
        if asyncssh.read_public_key(public).public_data == wanted.public_data:
            return
    except (OSError, asyncssh.KeyImportError):
        pass
    yield _deed(
        "files",
        f"{public} is not the public half of the host key",
        "write it again",
        partial(_write_as, key, public, wanted.export_public_key()),
    )


def _write_as(like: Path, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    status = like.stat()
    os.chown(path, status.st_uid, status.st_gid)


def _secrets(config: Config) -> Iterator[Repair]:
    """Files that the configuration names are not ours to change."""
    named = [config.database_password]
    for source in config.login.sources:
        named += [getattr(source, "search_password", None), getattr(source, "secret", None)]
    if config.oidc is not None:
        named.append(config.oidc.client_secret)
    for path in named:
        if path is None:
            continue
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            yield _hand("files", f"{path} cannot be read: {error.strerror}", "make it readable")
            continue
        if mode & 0o007:
            what = f"{path} has mode {mode:04o}, so that everybody may read the secret in it"
            yield _hand("files", what, f"chmod o= {path}")


def _leftovers(state: Path, holder: int | None) -> Iterator[Repair]:
    backup = state / BACKUP_PART
    if backup.is_dir() and not _locked(backup):
        yield _deed(
            "files",
            f"{backup} is left of a backup that was killed",
            "delete it",
            partial(shutil.rmtree, backup),
        )
    restore = state / RESTORE_PART
    if restore.is_dir():
        yield _hand(
            "files", f"{restore} is left of a restore that was killed", "deskd restore again"
        )
    if holder is None:
        for path in sorted((state / "archive").glob("*.part")):
            yield _deed(
                "files",
                f"{path} is left of a packing that was killed",
                "delete it",
                partial(path.unlink, missing_ok=True),
            )


def _locked(directory: Path) -> bool:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _space(state: Path) -> Iterator[Repair]:
    total, _, free = shutil.disk_usage(state)
    wanted = min(RESERVE, total // 10)
    if free < wanted:
        what = f"{state} has {spoken_size(free)} free, and wants {spoken_size(wanted)}"
        yield _hand("space", what, "see docs/operations.md: the disk fills")
    inodes = os.statvfs(state)
    if inodes.f_files and inodes.f_favail < inodes.f_files // 100:
        yield _hand("space", f"{state} has {inodes.f_favail} inodes free", "delete small files")


def _descriptors(config: Config, holder: int) -> Iterator[Repair]:
    limits = Path("/proc", str(holder), "limits")
    try:
        found = re.search(
            r"^Max open files +(\d+|unlimited) +(\d+|unlimited)", limits.read_text(), re.MULTILINE
        )
    except OSError:
        return
    wanted = (
        _PER_CONNECTION * config.ssh.limits.connections + config.ssh.limits.descriptors_reserved
    )
    if found is not None and found[2] != "unlimited" and int(found[2]) < wanted:
        what = f"process {holder} may have {found[2]} descriptors, and ssh.limits wants {wanted}"
        yield _hand(
            "limits", what, f"LimitNOFILE={wanted} where it is started, or fewer connections"
        )


def _deed(area: str, found: str, action: str, deed: Callable[[], None]) -> Repair:
    return Repair(Finding(area, found, action, mends=True), deed)


def _hand(area: str, found: str, action: str) -> Repair:
    return Repair(Finding(area, found, action, mends=False))
