"""Client-side screens: an Xvfb of the test's own, and what is seen on it."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Screen:
    display: str
    authority: str

    @property
    def env(self) -> dict[str, str]:
        return {"DISPLAY": self.display, "XAUTHORITY": self.authority}

    def windows(self) -> list[tuple[str, str]]:
        """Title and size of each titled window."""
        done = subprocess.run(
            ["xwininfo", "-root", "-tree"],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
        )
        return re.findall(r'0x[0-9a-f]+ "(.*?)": .*?(\d+x\d+)\+', done.stdout)

    def colours(self) -> int:
        """How many different colours it shows: few, until something is drawn."""
        done = subprocess.run(
            ["import", "-window", "root", "-format", "%k", "info:-"],
            env={**os.environ, **self.env},
            capture_output=True,
            check=True,
        )
        return int(done.stdout)

    def picture(self, path: Path) -> Path:
        """What the screen shows, as a PNG."""
        subprocess.run(
            ["import", "-window", "root", str(path)], env={**os.environ, **self.env}, check=True
        )
        return path


@contextmanager
def xvfb(directory: Path, size: str) -> Iterator[Screen]:
    authority = directory / "client.xauth"
    cookie = os.urandom(16).hex()
    # The server reads its cookies when it starts, and again only when the file is a second newer.
    _allow(authority, ":0", cookie)
    read, write = os.pipe()
    server = subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(write),
            "-screen",
            "0",
            f"{size}x24",
            "-auth",
            str(authority),
            # Else it starts anew whenever its last client leaves, and one that comes then is refused.
            "-noreset",
            "-nolisten",
            "tcp",
        ],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as told:
            display = f":{told.readline().strip()}"
        _allow(authority, display, cookie)
        yield Screen(display, str(authority))
    finally:
        server.terminate()
        server.wait(10)


def _allow(authority: Path, display: str, cookie: str) -> None:
    subprocess.run(
        ["xauth", "-q", "-f", str(authority), "add", display, ".", cookie],
        check=True,
        stderr=subprocess.DEVNULL,
    )
