"""What a backup says of itself: which Desk made it, of what, and what each of its files must be."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from broker.core.errors import BackupUnusable

#: The form of the file. What this code does not know is made by a newer Desk.
FORMAT = 1

#: The first file of a backup, by which it is known for one, and the last.
HEAD, MANIFEST = "desk-backup.json", "manifest.json"

CONFIG, DATABASE = "desk.yaml", "desk.db"

_NAME = re.compile(
    r"desk\.yaml|desk\.db|audit\.key(\.new)?|ssh_host_key(\.pub)?"
    r"|sessions/[0-9a-f]{16}/[a-z_]+(\.pub)?|archive/[0-9a-f]{16}\.tar\.gz"
    r"|homes/[0-9a-f]{16}\.tar\.gz"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a backup."""

    size: int
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A backup as a whole."""

    made_by: str
    """The version of the Desk that made it."""
    made_at: str
    schema: str
    instance: str
    files: dict[str, Entry] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """What is not in it though it belongs there, one sentence each."""

    @property
    def homes(self) -> list[str]:
        """The desktops whose homes it holds as they were on the engine."""
        return sorted(
            name.removeprefix("homes/").removesuffix(".tar.gz")
            for name in self.files
            if name.startswith("homes/")
        )

    def write(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()


def head(made_by: str) -> bytes:
    return json.dumps({"format": FORMAT, "made_by": made_by}).encode()


def check_head(text: bytes) -> None:
    """Raise `BackupUnusable` unless this code can read what follows."""
    try:
        told = json.loads(text)
        form, made_by = int(told["format"]), str(told["made_by"])
    except (ValueError, LookupError, TypeError):
        raise BackupUnusable("this is no backup of Desk's") from None
    if form > FORMAT:
        raise BackupUnusable(f"it was made by a newer Desk ({made_by}): restore it with that one")


def read(text: bytes) -> Manifest:
    """Raises `BackupUnusable`."""
    try:
        told: dict[str, Any] = json.loads(text)
        files = {name: Entry(**entry) for name, entry in told.pop("files").items()}
        manifest = Manifest(**told | {"files": files, "left_out": tuple(told["left_out"])})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BackupUnusable(f"it is damaged: its manifest cannot be read ({error})") from None
    strange = [name for name in manifest.files if not is_known(name)]
    if strange or DATABASE not in manifest.files:
        raise BackupUnusable("it is damaged: its manifest is not one of Desk's")
    return manifest


def is_known(name: str) -> bool:
    """Whether a backup can hold a file of that name, which then lies within the state."""
    return _NAME.fullmatch(name) is not None
