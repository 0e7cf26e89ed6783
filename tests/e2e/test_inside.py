"""What the broker sees and says inside the real image, by its own connection into it."""

from __future__ import annotations

import asyncio
import re
import struct
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncssh
import pytest

from broker.core.gateway import Endpoint, WordReply
from broker.core.model import Session, SessionId, SessionState
from broker.service.dial import dial
from broker.service.files import Access
from broker.service.inside import Notice, SshInside
from broker.system.clock import SystemClock
from tests.e2e.brokered import DISPLAY, Brokered, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WARNING = Notice("This desktop sleeps soon", "It sleeps in 10 min & <b>keeps</b> all.", True, 60.0)
ANSWER = "It stays awake until 18:40 & longer.\n"
PATIENCE = 20.0
SHIFT = 0xFFE1


@pytest.fixture(scope="module")
def desktop(docker, desktop_image, tmp_path_factory) -> Iterator[Brokered]:
    """One desktop for all of these."""
    with running(docker, desktop_image, tmp_path_factory.mktemp("desktop")) as container:
        yield container


class Broker:
    """A broker's connection to the desktop, and what the desktop asked by it."""

    def __init__(self, desktop: Brokered):
        self.desktop = desktop
        self.asked: list[list[str]] = []
        self.access = Access(
            host_key=desktop.key.with_name("host_key.pub").read_text().strip(),
            client_key=desktop.key.read_text(),
        )
        self.endpoint = Endpoint("127.0.0.1", desktop.port)
        self.inside = SshInside(
            reach=lambda _: ([self.endpoint], self.access),
            answer=self.answer,
            clock=SystemClock(),
        )
        now = datetime.now(UTC)
        self.session = Session(
            id=SessionId("s1"),
            desktop_id="d1",
            state=SessionState.READY,
            host="h",
            image="i",
            port=desktop.port,
            display=DISPLAY,
            address=None,
            deadline=None,
            kept_until=None,
            reason=None,
            created_at=now,
            changed_at=now,
        )

    async def answer(self, session_id, argv):
        assert session_id == "s1"
        self.asked.append(list(argv))
        return WordReply(stdout=ANSWER, stderr="", status=3)

    def hold(self):
        self.inside.hold([self.session])

    async def age(self) -> float:
        age = await self.inside.input_age(self.session.id)
        assert age is not None
        return age

    async def tell(self, notice=WARNING) -> bool:
        return await self.inside.tell(self.session.id, notice)

    async def says(self, command: str) -> str:
        return await asyncio.to_thread(self.desktop.says, command)

    async def until_it_listens(self):
        async with asyncio.timeout(PATIENCE):
            while (await asyncio.to_thread(self.desktop.ssh, "desk hello")).returncode != 3:
                pass
        self.asked.clear()

    @asynccontextmanager
    async def viewer(self):
        """What a browser's viewer does at the VNC socket; gives a function that sends events."""
        async with await dial(self.endpoint, self.access) as connection:
            reader, writer = await connection.open_unix_connection("/run/desk/vnc.sock")
            await reader.readexactly(12)
            writer.write(b"RFB 003.008\n")
            await reader.readexactly((await reader.readexactly(1))[0])
            writer.write(b"\x01")
            await reader.readexactly(4)
            writer.write(b"\x01")
            (name,) = struct.unpack(">20xI", await reader.readexactly(24))
            await reader.readexactly(name)
            yield writer.write
            writer.close()


@pytest.fixture
async def broker(desktop):
    """A broker that is connected."""
    made = Broker(desktop)
    made.hold()
    yield made
    await made.inside.close()


def key(number, *, down):
    return struct.pack(">BBHI", 4, down, 0, number)


def pointer(x, y, *, pressed):
    return struct.pack(">BBHH", 5, pressed, x, y)


async def test_only_a_hand_ends_idleness(broker):
    """Neither the question nor a viewer that comes does; a key does."""
    before = await broker.age()
    async with broker.viewer() as send:
        await broker.says("sleep 0.5")
        assert await broker.age() >= before + 0.5
        send(key(SHIFT, down=1) + key(SHIFT, down=0))
        async with asyncio.timeout(PATIENCE):
            while await broker.age() > 1:
                pass


async def test_an_x_server_that_came_back_is_asked(broker):
    """After a crash of the one before; the cookie is still good."""
    await broker.age()
    await broker.says("kill -9 $(pgrep -x Xvnc); sleep 0.3; desk-ready")
    assert await broker.age() < PATIENCE


async def test_the_desk_command_reaches_the_broker(broker):
    """Its words, its output, its status; nothing on the way changes them."""
    await broker.until_it_listens()
    done = await asyncio.to_thread(broker.desktop.ssh, "desk extend 2h 'a b' é --json")
    assert (done.stdout, done.stderr, done.returncode) == (ANSWER, "", 3)
    assert broker.asked == [["extend", "2h", "a b", "é", "--json"]]


async def test_without_a_broker_the_desk_command_says_so(broker, docker, desktop_image):
    """One sentence: where the broker is away, what is too long, and where there never was one."""
    await broker.until_it_listens()
    long = await asyncio.to_thread(broker.desktop.ssh, "desk $(seq 100000)")
    assert long.stderr == "desk: That is more than a command of Desk can be.\n"
    await broker.inside.leave(broker.session.id)
    away = await asyncio.to_thread(broker.desktop.ssh, "desk status")
    assert (away.stdout, away.returncode) == ("", 1)
    assert away.stderr.startswith("desk: The broker cannot be reached from here just now")
    said = await asyncio.to_thread(
        docker, "run", "--rm", "--network=none", "--label=desk.test=1", "--entrypoint=sh",
        desktop_image, "-c", "desk status 2>&1; echo $?",
    )  # fmt: skip
    assert said == "desk: This desktop stands alone: there is no broker to ask.\n1"


async def test_after_a_freeze_it_is_back(broker, docker):
    """The socket of the connection before is in the way of none after."""
    await broker.until_it_listens()
    await broker.inside.leave(broker.session.id)
    await asyncio.to_thread(docker, "pause", broker.desktop.name)
    await asyncio.to_thread(docker, "unpause", broker.desktop.name)
    broker.hold()
    await broker.until_it_listens()
    assert await broker.age() >= 0


async def test_a_desktop_takes_another_size(broker):
    """As it says itself; and back."""
    for size in ((1600, 900), (1280, 800)):
        assert await broker.inside.resize(broker.session.id, *size)
        shown = await broker.says("xdpyinfo | grep dimensions || xrandr | grep current")
        assert re.search(r"{}\s?x\s?{}".format(*size), shown)


async def test_the_button_of_a_warning_extends(broker):
    """It is shown in the desktop, and pressing its button says `desk extend` to the broker."""
    await broker.until_it_listens()
    assert await broker.tell()
    windows = await broker.says("xwininfo -root -tree")
    places = re.findall(r'"xfce4-notifyd".*?(\d+)x(\d+)\+\d+\+\d+\s+\+(\d+)\+(\d+)', windows)
    # It has small ones of its own that are not on the screen.
    width, height, left, top = max(tuple(map(int, place)) for place in places)
    x, y = left + width - 56, top + height - 28
    async with broker.viewer() as send:
        for pressed in (0, 1, 0):
            send(pointer(x, y, pressed=pressed))
            await broker.says("true")
        async with asyncio.timeout(PATIENCE):
            while not broker.asked:
                await broker.says("true")
        send(pointer(0, 0, pressed=0))
    assert broker.asked == [["extend"]]


async def test_a_line_reaches_every_terminal_that_can_take_it(broker):
    """Not one that is stopped, which holds up nobody; nor is a bus or a daemon needed for it."""
    await broker.says("mv $XDG_RUNTIME_DIR/bus $XDG_RUNTIME_DIR/away")
    options = {"term_type": "xterm", "stderr": asyncssh.DEVNULL}
    try:
        async with await dial(broker.endpoint, broker.access) as connection:
            stopped = await connection.create_process("echo here; cat", **options)
            seeing = await connection.create_process("echo here; cat", **options)
            for terminal in (stopped, seeing):
                assert "here" in await terminal.stdout.readline()
            stopped.stdin.write("\x13")
            seeing.stdin.write("\n")
            await seeing.stdout.readline()
            assert await broker.tell()
            async with asyncio.timeout(PATIENCE):
                line = (await seeing.stdout.readuntil(" ***")).strip()
        assert line == (
            "*** Desk: It sleeps in 10 min & <b>keeps</b> all. Say 'desk extend' for more time. ***"
        )
    finally:
        await broker.says("mv $XDG_RUNTIME_DIR/away $XDG_RUNTIME_DIR/bus")


async def test_text_of_a_notice_steers_no_terminal(broker):
    """Control characters are blanks."""
    async with await dial(broker.endpoint, broker.access) as connection:
        terminal = await connection.create_process("echo here; cat", term_type="xterm")
        await terminal.stdout.readline()
        assert await broker.tell(Notice("t", "a\x1b[31m\x07b\nc", extend=False, lasts=1.0))
        line = (await terminal.stdout.readuntil(" ***")).strip()
    assert line == "*** Desk: a [31m b c ***"
