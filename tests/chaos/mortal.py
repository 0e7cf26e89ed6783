"""A broker that can be told, while it runs, where to die: `python -m tests.chaos.mortal FILE serve …`.

FILE names the point, as in `after engine.create` or `during store.advance:frozen`. The product
knows nothing of it: methods of its adapters are replaced here, before it is composed. With the
broker its parent dies, and so do the doors.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from broker import parent
from broker.cli import deskd
from broker.db.store import SqlStore
from broker.engine.docker import DockerEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

METHODS = {
    "engine": ("ensure_home", "create", "start", "remove", "pause", "unpause"),
    "store": (
        "add_user",
        "ensure_desktop",
        "note_home",
        "begin_session",
        "advance",
        "keep_session",
        "note_deadline",
    ),
}
_OWNERS: dict[str, type[Any]] = {"engine": DockerEngine, "store": SqlStore}

#: Seconds from the beginning of a call to a death during it.
_MEANWHILE = 0.004


class Fate:
    """The point at which this process dies, read anew at every call."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def point(self) -> str:
        try:
            return self._file.read_text()
        except FileNotFoundError:
            return ""

    def meet(self) -> NoReturn:
        self._file.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def mortal(
    method: Callable[..., Awaitable[Any]], name: str, fate: Fate
) -> Callable[..., Awaitable[Any]]:
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        named = f"{name}:{kwargs['to']}" if "to" in kwargs else name
        when, _, where = fate.point().partition(" ")
        if where != named:
            return await method(self, *args, **kwargs)
        if when == "before":
            fate.meet()
        if when == "during":
            asyncio.get_running_loop().call_later(_MEANWHILE, fate.meet)
        answer = await method(self, *args, **kwargs)
        if when == "after":
            fate.meet()
        return answer

    return call


def main() -> None:
    fate = Fate(Path(sys.argv[1]))
    for owner, names in METHODS.items():
        for name in names:
            real = getattr(_OWNERS[owner], name)
            setattr(_OWNERS[owner], name, mortal(real, f"{owner}.{name}", fate))
    parent.DESKD = (sys.executable, "-m", "tests.chaos.mortal", sys.argv[1])
    deskd.main(sys.argv[2:])


if __name__ == "__main__":
    main()
