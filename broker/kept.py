"""Who keeps the broker that runs, and replaces it when another configuration wants another one."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the broker has its configuration from."""

    path: Path
    text: str
    """What it was made of, as it stood there."""
    parent: int | None
    """The pid of the `deskd serve` that keeps the broker; None where systemd does."""


class ByParent:
    """`deskd serve` reads the configuration too, and replaces whom it must."""

    rolls = True

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def reload(self) -> bool:
        os.kill(self._parent, signal.SIGHUP)
        return True

    def restart(self) -> None:
        """It does so by itself."""


class BySystemd:
    """A broker that ends is started again, and front doors are units of their own."""

    rolls = False

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def reload(self) -> bool:
        return False

    def restart(self) -> None:
        self._stop.set()
