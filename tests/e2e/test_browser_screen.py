"""A door's browser side before a real desktop: its VNC server, clipboard, files, and that it has no
sound.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import asyncssh
import pytest
from PIL import Image
from yarl import URL

from broker.core.gateway import Right
from broker.core.tokens import csrf_of
from broker.door.files import Files
from broker.door.pictures import Pictures
from broker.door.screens import Screens
from broker.door.sounds import Sounds
from tests.door import rfb
from tests.door.desktop import DESKTOP, SECRET, RoomPort
from tests.door.webport import PATIENCE, PLAIN
from tests.e2e.brokered import DISPLAY, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GUESTS = "/ws/guest/screen"
RAW, DESKTOP_SIZE = 0, -308


@dataclass
class Real:
    """A container's sshd, as the tests of a door know one."""

    port: int
    host_key: str
    client_key: str
    shared: Path


@pytest.fixture(scope="module")
def brokered(docker, desktop_image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("brokered")
    with running(docker, desktop_image, folder) as container:
        kind, key, _ = (folder / "mounts" / "host_key.pub").read_text().split()
        real = Real(
            container.port, f"{kind} {key}", (folder / "mounts" / "client").read_text(), folder
        )
        yield container, real


@pytest.fixture
async def port(tmp_path, brokered):
    places = (Screens, Pictures, Sounds, lambda rooms: Files(rooms, PLAIN))
    async with RoomPort(tmp_path, brokered[1], places=places) as made:
        yield made


@pytest.fixture
async def inside(brokered):
    """What a tenant's command in there says."""
    container, real = brokered
    async with asyncssh.connect(
        "127.0.0.1",
        container.port,
        username="desk",
        client_keys=[asyncssh.import_private_key(real.client_key)],
        known_hosts=None,
        config=None,
    ) as connection:

        async def say(command):
            done = await connection.run(f"export DISPLAY=:{DISPLAY}; {command}", timeout=PATIENCE)
            return done.stdout

        yield say


async def copy(inside, text):
    await inside(f"printf %s '{text}' | xclip -i -selection clipboard >/dev/null 2>&1")


def dimensions(told):
    return told.split("dimensions:")[1].split()[0]


def size(width, height):
    return struct.pack(">BxHHBx", 251, width, height, 1) + struct.pack(
        ">IHHHHI", 0, 0, 0, width, height, 0
    )


async def meet(page, *said):
    """Come in as a viewer that says so, and return what the server says within a moment."""
    await page.go()
    assert await page.read(12) == b"RFB 003.008\n"
    await page.say(b"RFB 003.008\n")
    assert await page.read(2) == b"\x01\x01"
    await page.say(b"\x01")
    await page.read(4)
    await page.say(b"\x01")
    head = await page.read(24)
    await page.read(struct.unpack(">I", head[20:])[0])
    for message in said:
        await page.say(message)


async def hears(page, seconds=0.7):
    """All that comes in that time."""
    heard = bytes(page.got)
    page.got.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (message := await page.socket.receive()).type is aiohttp.WSMsgType.BINARY:
                heard += message.data
    return heard


async def test_the_owner_sees_resizes_and_reads_what_was_copied(port, inside):
    await copy(inside, "copied before 数据")
    async with port.page() as page:
        assert (await page.be_ready())["clipboard"] == "copied before 数据"
        await meet(page, rfb.encodings(RAW, DESKTOP_SIZE), size(1000, 700))
        async with asyncio.timeout(PATIENCE):
            while dimensions(await inside("xdpyinfo")) != "1000x700":
                await asyncio.sleep(0.05)
        await page.say(rfb.update_request(10, 10, incremental=0))
        assert struct.pack(">HHi", 1000, 700, DESKTOP_SIZE) in await hears(page)
        await copy(inside, "copied now")
        assert b"copied now" in await hears(page)


@pytest.mark.parametrize(
    "said",
    [
        (),
        (rfb.encodings(RAW),),
        (rfb.encodings(RAW, rfb.EXTENDED_CLIPBOARD),),
        (
            rfb.encodings(RAW, rfb.EXTENDED_CLIPBOARD),
            rfb.extended(rfb.CAPS | rfb.REQUEST | rfb.NOTIFY | rfb.PROVIDE | 1, b"\xff" * 4),
            rfb.extended(rfb.REQUEST | 1),
        ),
    ],
    ids=["says nothing", "knows no clipboard", "knows it", "asks for it"],
)
async def test_who_may_not_read_what_is_copied_reads_nothing(port, inside, said):
    """Whatever it says that it knows: it is looked for packed as well."""
    port.gateway.guest_rights = (Right.CONTROL,)
    async with port.page(GUESTS) as page:
        assert (await page.be_ready())["clipboard"] is None
        await meet(page, *said)
        await hears(page, 0.3)
        await copy(inside, f"secret {len(said)}")
        heard = await hears(page)
        assert b"secret" not in heard
        assert b"\x78\x9c" not in heard
        await page.say(rfb.extended(rfb.REQUEST | 1))
        assert b"\x78\x9c" not in await hears(page, 0.3)


@pytest.mark.parametrize(
    "flags", [rfb.REQUEST | 1, rfb.PEEK, rfb.NOTIFY | 1, rfb.CAPS | rfb.REQUEST]
)
async def test_a_guest_changes_nothing_by_what_stands_behind_a_message(port, inside, flags):
    """The server would take it for the next one."""
    before = dimensions(await inside("xdpyinfo"))
    port.gateway.guest_rights = (Right.CLIPBOARD_IN, Right.CLIPBOARD_OUT)
    async with port.page(GUESTS) as page:
        await meet(page, rfb.encodings(RAW, DESKTOP_SIZE, rfb.EXTENDED_CLIPBOARD))
        await page.say(rfb.extended(flags, size(640, 480)))
        assert (await page.end())[0] == 4400
    assert dimensions(await inside("xdpyinfo")) == before


async def test_the_home_has_files_and_a_picture_and_no_sound(port):
    data, name = os.urandom(3 << 20), "数据 'x'\n.bin"
    headers = {**port.headers(), "Desk-CSRF": csrf_of(SECRET)}
    url = URL(f"{port.url}/files/{DESKTOP}/Downloads/{quote(name)}", encoded=True)
    async with aiohttp.ClientSession(headers=headers) as client:
        assert (await client.put(url, data=io.BytesIO(data))).status == 201
        found = await (await client.get(url)).read()
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()
        listing = await (await client.get(f"{port.url}/files/{DESKTOP}?path=Downloads")).json()
        assert name in [one["name"] for one in listing["entries"]]
        picture = await client.get(f"{port.url}/pictures/{DESKTOP}")
        with Image.open(io.BytesIO(await picture.read())) as image:
            assert max(image.size) == 320
    assert (await port.ended(f"/ws/desktops/{DESKTOP}/sound"))[0] == 4404


async def test_a_desktop_that_dies_is_come_back_to_and_looked_at(port, docker, brokered):
    """Last, for it is dead then."""
    async with port.page() as page:
        await meet(page)
        docker("kill", brokered[0].name)
        assert (await page.end())[0] == 1012
        assert ("lost", port.gateway.route.session_id) in port.gateway.events
    port.gateway.route = replace(port.gateway.route, session_id="another")
    assert (await port.ended())[0] == 1011
