"""The parent of broker and doors: who is replaced when, with children that are a line of Python."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import pytest
from structlog.testing import capture_logs

from broker import parent
from broker.config import parse
from broker.inherited import Inherited
from broker.parent import BROKER, Parent
from broker.system.notify import Notifier
from broker.system.tls import Deposit
from tests.door.certificates import certificate

#: Says what stands in a file that it speaks; the broker takes a moment to leave.
CHILD = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
sys.stdin.read()
speaks = (folder / sys.argv[2]).read_text()
if speaks == "nothing":
    sys.exit(3)
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
signal.signal(signal.SIGUSR1, lambda *_: (folder / "drains").touch())
signal.signal(signal.SIGHUP, lambda *_: (folder / "reloads").touch())
os.write(1, f"ready {speaks}\\n".encode())
while not asked:
    time.sleep(0.02)
time.sleep(0.5)
sys.exit(40 + len(asked))
"""


class House:
    """A parent whose children are such ones."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder = folder
        for name, program in (("broker", "DESKD"), ("door", "DOOR")):
            command = (sys.executable, "-c", CHILD, str(folder), name)
            monkeypatch.setattr(parent, program, command)
        monkeypatch.setattr(parent, "_AGAIN", 0.2)
        self.install("one")
        self.path = folder / "desk.yaml"
        text = self.write()
        null = os.open(os.devnull, os.O_RDONLY)
        self._null = null
        self.parent = Parent(
            self.path,
            text,
            parse(text, str(self.path)),
            Inherited(lock=null, ssh=null, http=null, gateway=null, api=null, way=null),
            Deposit(folder / "tls.pem", None),
            uid=None,
            host_key="secret",
            supervisor=Notifier(None),
        )
        self.living = self.parent._tasks.start(self.parent._live(), name="children")

    def install(self, speaks: str, *, door: str | None = None) -> None:
        """What is started from now on speaks that."""
        (self.folder / "broker").write_text(speaks)
        (self.folder / "door").write_text(door or speaks)

    def write(self, patience: str = "30s", *, image: str = "desk", doors: int = 2) -> str:
        text = (
            f"state: {self.folder}/state\ntemplate:\n  image: {image}\n"
            f"ssh:\n  doors: {doors}\n  patience: {patience}\n"
        )
        self.path.write_text(text)
        return text

    @property
    def broker(self):
        return self.parent._broker.child

    @property
    def doors(self) -> list:
        return [door.child for door in self.parent._doors]

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.broker and all(self.doors))

    async def reload(self) -> None:
        """SIGHUP, and all that comes of it: the broker that runs is told."""
        self.parent._ask_to_reload()
        await self.until((self.folder / "reloads").exists)
        (self.folder / "reloads").unlink()

    def speak(self) -> set[str]:
        return {child.speaks if child else "" for child in (self.broker, *self.doors)}

    async def close(self) -> None:
        await self.parent._tasks.close()
        await self.parent._children.end(lambda _: True, 5)
        os.close(self._null)


@pytest.fixture
async def house(tmp_path, monkeypatch):
    made = House(tmp_path, monkeypatch)
    await made.ready()
    yield made
    await made.close()


async def rest() -> None:
    """Long enough for what should not happen."""
    await asyncio.sleep(0.6)


async def test_an_upgraded_broker_gets_doors_that_speak_as_it_does(house):
    """Those of before cannot be understood by it; they carry on what they have."""
    doors = house.doors
    house.install("two")
    house.broker.tell(signal.SIGKILL)
    await house.until(lambda: house.speak() == {"two"})
    assert not set(house.doors) & set(doors)
    assert all(door.lives for door in doors)


async def test_an_upgraded_door_gets_a_broker_that_speaks_as_it_does(house):
    """And then the other doors follow."""
    broker, (first, second) = house.broker, house.doors
    house.install("two")
    first.tell(signal.SIGKILL)
    await house.until(lambda: house.speak() == {"two"})
    assert await broker.wait() == 41
    assert second.lives
    assert second not in house.doors


async def test_doors_that_no_broker_understands_take_nobody_in_any_more(house):
    """At once, though nobody else can yet: who comes waits in the socket. That is tried again."""
    doors = house.doors
    house.install("two", door="nothing")
    house.broker.tell(signal.SIGKILL)
    await house.until((house.folder / "drains").exists)
    await rest()
    assert house.doors == [None, None]
    assert all(door.lives for door in doors)
    house.install("two")
    await house.until(lambda: house.speak() == {"two"})


async def test_a_child_that_ends_is_followed_and_nobody_else_touched(house):
    """While all are of one version."""
    broker, (first, second) = house.broker, house.doors
    first.tell(signal.SIGKILL)
    await house.until(lambda: house.doors[0] is not first)
    broker.tell(signal.SIGKILL)
    await house.until(lambda: house.broker is not broker)
    third = house.doors[0]
    await rest()
    assert house.doors == [third, second]


async def test_doors_are_replaced_when_what_they_are_told_is_another_thing(house):
    """A door would forget who is to be turned away."""
    broker, doors = house.broker, house.doors
    await house.reload()
    await rest()
    assert (house.broker, house.doors) == (broker, doors)
    house.write(patience="31s")
    await house.reload()
    await house.until(lambda: not set(house.doors) & set(doors))
    assert all(b'"patience": 31' in door.told for door in house.doors)
    assert house.broker is broker


async def test_a_broker_is_started_again_when_it_cannot_take_over_what_changed(house):
    """With the file as it is then; doors stay."""
    broker, doors = house.broker, house.doors
    house.write(image="next")
    house.parent._ask_to_reload()
    await house.until(lambda: house.broker not in {broker, None})
    assert b"image: next" in house.broker.told
    assert house.doors == doors


async def test_what_wants_a_stop_waits_for_it_and_the_rest_does_not(house):
    """A broker that is started later has what holds, and not what waits."""
    house.write(patience="31s", doors=3)
    with capture_logs() as logs:
        await house.reload()
        await house.until(lambda: all(b'"patience": 31' in door.told for door in house.doors))
    assert len(house.doors) == 2
    (told,) = [line for line in logs if line["event"] == "a part of the configuration waits"]
    assert told["problem"] == "ssh.doors: stop Desk and start it to change this"
    broker = house.broker
    broker.tell(signal.SIGKILL)
    await house.until(lambda: house.broker not in {broker, None})
    held = parse(house.broker.told.decode(), "x")
    assert (held.ssh.doors, held.ssh.patience) == (2, 31)


async def test_a_file_with_a_mistake_changes_nothing(house):
    """Nobody is told anything."""
    broker = house.broker
    house.path.write_text("template: {image: 7}\n")
    with capture_logs() as logs:
        house.parent._ask_to_reload()
        await rest()
    assert [line["event"] for line in logs] == ["configuration not taken over"]
    assert not (house.folder / "reloads").exists()
    assert house.broker is broker


async def test_a_certificate_that_cannot_be_used_changes_nothing(house):
    """It is told in one sentence; a pair is deposited where doors find it, and they are told so."""
    doors = house.doors
    pair = certificate(house.folder)
    section = f"web: {{tls: {{certificate: {pair[0]}, key: {house.folder}/none.key}}}}\n"
    house.path.write_text(house.write() + section)
    with capture_logs() as logs:
        house.parent._ask_to_reload()
        await rest()
    (told,) = (line for line in logs if line["event"] == "configuration not taken over")
    assert told["problem"] == f"web.tls: {house.folder}/none.key: No such file or directory."
    assert house.doors == doors
    pair[1].rename(house.folder / "none.key")
    house.parent._ask_to_reload()
    await house.until(lambda: not set(house.doors) & set(doors))
    path = f"/proc/self/fd/{house._null}/tls.pem"
    assert all(json.loads(door.told)["tls"] == [path, path] for door in house.doors)
    assert pair[0].read_bytes() in (house.folder / "tls.pem").read_bytes()


async def test_a_certificate_that_is_renewed_needs_no_word(house, monkeypatch):
    """Of one that is no pair the log tells once."""
    monkeypatch.setattr(parent, "_CERTIFICATE_EVERY", 0.01)
    pair = certificate(house.folder)
    text = f"web: {{tls: {{certificate: {pair[0]}, key: {pair[1]}}}}}\n"
    house.parent._config = parse(house.write() + text, "x")
    deposit = house.folder / "tls.pem"
    with capture_logs() as logs:
        house.parent._tasks.start(house.parent._watch_certificate(), name="certificate")
        await house.until(deposit.exists)
        fresh = certificate(house.folder, "fresh")
        os.replace(fresh[0], pair[0])
        await house.until(lambda: logs)
        await asyncio.sleep(0.1)
        os.replace(fresh[1], pair[1])
        await house.until(lambda: pair[0].read_bytes() in deposit.read_bytes())
    assert [line["event"] for line in logs] == ["certificate not taken over"]


async def test_a_door_that_missed_a_configuration_gets_it_later(house):
    """When it could not be replaced at first."""
    doors = house.doors
    house.install("one", door="nothing")
    house.write(patience="31s")
    await house.reload()
    await rest()
    assert house.doors == doors
    assert not (house.folder / "drains").exists()
    house.install("one")
    await house.until(lambda: not set(house.doors) & set(doors))


async def test_who_stops_in_the_middle_of_a_reload_asks_the_broker_once(house):
    """Asked twice it would leave at once, and starts under way with it."""
    broker = house.broker
    house.write(image="next")
    house.parent._ask_to_reload()
    await house.until(lambda: not broker.lives)
    await asyncio.sleep(0.2)  # two signals of a kind at once are one
    await house.parent._tasks.close()
    await house.parent._children.end(lambda child: child.name == BROKER, 5)
    assert await broker.wait() == 41
