"""Who lives in the Desk under test, and what is known of their desktops by heart."""

from __future__ import annotations

import itertools
import secrets
import select
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.core.spec import home_volume
from tests.e2e.desk import until

if TYPE_CHECKING:
    from tests.chaos.world import World
    from tests.e2e.desk import Person

#: Seconds until an attached client has its answer.
_PATIENCE = 30

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Mark:
    """A process in a desktop that nothing else is: who finds it later finds the same run."""

    word: str
    pid: int
    began: str
    """In ticks since the host came up."""


def find_mark(word: str) -> Mark | None:
    """The process with that command line; frozen ones too."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_text() == f"sleep\0{word}\0":
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                return Mark(word, int(entry.name), fields[19])
        except OSError:
            continue  # it ended meanwhile
    return None


@dataclass
class Resident:
    """Somebody whose desktop is looked after."""

    world: World
    person: Person
    secret: str = field(default_factory=lambda: secrets.token_hex(8))
    lines: list[str] = field(default_factory=list)
    """What they wrote and were told that it is written."""
    desktop: str | None = None
    session: str | None = None
    mark: Mark | None = None
    client: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.person.name

    @property
    def public_key(self) -> str:
        return self.person.key.with_name(f"{self.name}.key.pub").read_text()

    def ssh(self, command: str) -> subprocess.CompletedProcess[bytes]:
        return self.world.desk.ssh(self.person, command)

    def ok(self, command: str) -> str:
        done = self.ssh(command)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stderr.decode()}"
        return done.stdout.decode()

    def record(self) -> dict[str, Any] | None:
        return next((s for s in self.world.sessions() if s["user"] == self.name), None)

    def settle_in(self) -> None:
        """Be in a desktop that runs, the same as ever, and know what it is."""
        if self.desktop is None:
            self.ok(f"echo {self.secret} > mine; : > log")
        else:
            self.ok("true")
        record = self.record()
        assert record is not None
        self.desktop = record["desktop_id"]
        if record["id"] != self.session:
            word = f"{864_000_000 + next(_numbers)}"
            self.ok(f"setsid sleep {word} </dev/null >/dev/null 2>&1 &")
            self.session = record["id"]
            self.mark = until(lambda: find_mark(word), what="the mark")

    def sleep(self) -> None:
        self.settle_in()
        self.ok("desk sleep")

    def stop(self) -> None:
        record = self.record()
        if record is not None:
            self.world.call("POST", f"/sessions/{record['id']}/stop")

    def attach(self) -> None:
        """Have a client in it that answers each line."""
        if self.client is None or self.client.poll() is not None:
            self.detach()
            desk = self.world.desk
            self.client = subprocess.Popen(
                [*desk.ssh_command(self.person), "cat"],
                env=desk.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        self.echo()

    def echo(self) -> None:
        """Raises unless the client answers."""
        assert self.client is not None
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        word = secrets.token_hex(4).encode() + b"\n"
        self.client.stdin.write(word)
        answers, _, _ = select.select([self.client.stdout], [], [], _PATIENCE)
        assert answers, f"the attached client of {self.name} hangs"
        assert self.client.stdout.readline() == word, f"the client of {self.name} was cut off"

    def detach(self) -> None:
        if self.client is not None:
            self.client.kill()
            self.client.communicate()
            self.client = None

    def check_home(self) -> None:
        """What was written is there, to be read behind the broker's and the engine's back."""
        if self.desktop is None:
            return
        home = self.world.volumes / home_volume(self.desktop) / "_data"
        assert (home / "mine").read_text() == f"{self.secret}\n", f"the home of {self.name}"
        written = (home / "log").read_text().split()
        missing = [line for line in self.lines if line not in written]
        assert not missing, f"acknowledged writes of {self.name} are lost: {missing}"

    def check_same_run(self) -> None:
        """Its session is the one of before, and so is the process in it."""
        record = self.record()
        assert record is not None, f"the desktop of {self.name} was stopped: {self.why_ended()}"
        assert record["id"] == self.session, f"{self.name} has another session"
        assert self.mark is not None
        now = find_mark(self.mark.word)
        assert now == self.mark, f"the programs of {self.name} are not the ones of before"

    def why_ended(self) -> str:
        return str(self.world.query("select reason from session where id = ?", self.session))
