"""What `make up` remembers between its runs: STATE/up.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from broker.cli import up_place

if TYPE_CHECKING:
    from pathlib import Path

    from broker.cli.up_place import Place

NAME = "up.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Losing it costs nothing but caution: what it does not tell is taken for the admin's own."""

    image: str | None = None
    """The image that `make up` wrote into the configuration."""
    engine: str | None = None
    """The engine's socket that it wrote there."""
    pid: int | None = None
    """The broker that it started."""
    signature: str | None = None
    """What that broker was started from."""
    reach: tuple[str, ...] = ()
    """Directories outside the state in which it made files for callers behind sudo."""


def read(place: Place) -> Memory:
    try:
        data = json.loads((place.state / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Memory()
    known = {field.name for field in fields(Memory)}
    values = {name: value for name, value in data.items() if name in known}
    return Memory(**values | {"reach": tuple(values.get("reach", ()))})


def write(place: Place, memory: Memory) -> None:
    owner = up_place.Caller(
        login="", uid=place.state.stat().st_uid, gid=place.state.stat().st_gid, home=place.state
    )
    text = json.dumps(asdict(memory), indent=2) + "\n"
    up_place.give(place.state / NAME, text, mode=0o600, caller=owner)


def signature(config: str, root: Path) -> str:
    """A digest of all that a running broker depends on: its configuration and its code."""
    digest = hashlib.sha256(config.encode())
    code = [*root.glob("broker/**/*.py"), *root.glob("migrations/**/*.py"), root / "uv.lock"]
    for path in sorted(path for path in code if path.is_file()):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]
