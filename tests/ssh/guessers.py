"""A door and its broker in a process of their own (`flooded`), and those who flood them with wrong
passwords.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.ssh.clients import HOST, environment
from tests.ssh.raw import Boolean, String, stranger

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Flooded:
    """The process, and what lets ada in."""

    process: subprocess.Popen[str]
    port: int
    key: Path

    def figures(self) -> dict[str, Any]:
        """Since the last time."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    async def log_in(self) -> None:
        """By key, until a word of the broker is answered."""
        options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        ssh = await asyncio.create_subprocess_exec(
            *("ssh", "-F", "none", "-p", str(self.port), "-i", str(self.key), "-l", "desk"),
            *(part for option in [*options, "LogLevel=ERROR"] for part in ("-o", option)),
            *(HOST, "desk list"),
            stdout=subprocess.DEVNULL,
            env=environment(),
        )
        assert await asyncio.wait_for(ssh.wait(), 60) == 0

    async def flood(self, connections: int, over: asyncio.Event) -> int:
        """Guess on so many connections until it is over; how often."""
        guessers = (self._guess(number, over) for number in range(connections))
        return sum(await asyncio.gather(*guessers))

    async def _guess(self, number: int, over: asyncio.Event) -> int:
        """One wrong password after the other, each for another name, and again when put out."""
        tries = 0
        while not over.is_set():
            with contextlib.suppress(OSError, TimeoutError):
                async with stranger(self) as client:
                    while not client.ended.is_set() and not over.is_set():
                        heard = client.heard.count(51)
                        name = b"ada" if tries % 10 == 0 else b"u%d-%d" % (number, tries)
                        head = (String(name), String(b"ssh-connection"), String(b"password"))
                        client.say(50, *head, Boolean(False), String(b"a wrong password"))
                        while client.heard.count(51) == heard and not client.ended.is_set():
                            await asyncio.sleep(0.01)
                        tries += 1
        return tries


@contextlib.contextmanager
def flooded(folder: Path) -> Iterator[Flooded]:
    """As long as it is entered."""
    key, log = folder / "id", folder / "flooded.log"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    line = key.with_suffix(".pub").read_text().strip()
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ssh.flooded", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
        )
    with process:
        try:
            port = process.stdout.readline()
            assert port, log.read_text()
            yield Flooded(process, int(port), key)
            process.stdin.close()
            assert process.wait(60) == 0, log.read_text()
        finally:
            process.kill()
