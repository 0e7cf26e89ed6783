"""Small pictures of desktops: what is seen, of whom, how often, and how little a server can do about
it.
"""

from __future__ import annotations

import asyncio
import io
import struct

import aiohttp
import pytest
from PIL import Image

from broker.core.errors import AccessDenied
from broker.door import pictures
from broker.door.pictures import Pictures, small
from broker.door.rfb import NoPicture, picture
from tests.door.desktop import DESKTOP, GUEST, SECRET, RoomPort, at, server_init
from tests.door.webport import PATIENCE
from tests.ssh.inner import InnerSshd

ADDRESS = f"/pictures/{DESKTOP}"
RED, GREEN, BLUE = (0xF800, 0x07E0, 0x001F)


def pixels(colour, count):
    return struct.pack("<H", colour) * count


def update(*rectangles):
    return struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)


def rectangle(x, y, width, height, colour, *, encoding=0):
    return struct.pack(">HHHHi", x, y, width, height, encoding) + pixels(colour, width * height)


HALVES = update(rectangle(0, 0, 64, 24, RED), rectangle(0, 24, 32, 24, GREEN)) + update(
    rectangle(32, 24, 32, 24, BLUE)
)
BELL, COLOURS = b"\x02", b"\x01\0\0\0\0\x02" + bytes(12)
TEXT = b"\x03\0\0\0\0\0\0\x05hello"


# ----------------------------------------------------------------------------------- what is seen


class Up:
    """Where the viewer's words go."""

    def __init__(self):
        self.said = b""

    def write(self, data):
        self.said += data


def hello(width=64, height=48, *, version=b"RFB 003.008\n", ways=b"\x01\x01", let_in=bytes(4)):
    return version + ways + let_in + server_init(width, height)


async def seen(*said):
    """What a server that says that makes the viewer see."""
    down = asyncio.StreamReader()
    down.feed_data(b"".join(said))
    down.feed_eof()
    async with asyncio.timeout(PATIENCE):
        return await picture(down, Up())


async def test_all_pieces_make_a_picture():
    """Whatever else is said in between."""
    found = await seen(
        hello(),
        BELL,
        TEXT,
        HALVES[: -len(update(rectangle(32, 24, 32, 24, BLUE)))],
        COLOURS,
        update(rectangle(32, 24, 32, 24, BLUE)),
    )
    assert (found.width, found.height) == (64, 48)
    assert bytes(found.pixels) == pixels(RED, 64 * 24) + 24 * (pixels(GREEN, 32) + pixels(BLUE, 32))


async def test_a_large_one_comes_in_rows():
    found = await seen(hello(1000, 700), update(rectangle(0, 0, 1000, 700, BLUE)))
    assert bytes(found.pixels) == pixels(BLUE, 700_000)


async def test_it_asks_for_all_of_it_in_raw_pixels():
    down, up = asyncio.StreamReader(), Up()
    down.feed_data(hello() + HALVES)
    await picture(down, up)
    assert up.said == (
        b"RFB 003.008\n\x01\x01"
        + struct.pack(">BxxxBBBBHHHBBBxxx", 0, 16, 16, 0, 1, 31, 63, 31, 11, 5, 0)
        + struct.pack(">BxHi", 2, 1, 0)
        + struct.pack(">BBHHHH", 3, 0, 0, 0, 64, 48)
    )


NOTHING = struct.pack(">HHHHi", 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "said",
    [
        (hello(version=b"RFB 003.003\n"),),
        (hello(ways=b"\x01\x02"),),
        (hello(ways=b"\x00"),),
        (hello(let_in=b"\0\0\0\x01"),),
        (hello(0, 0),),
        (hello(65535, 65535),),
        (hello(4097, 4096),),
        (hello(), update(rectangle(0, 0, 65, 1, RED))),
        (hello(), update(rectangle(63, 0, 2, 1, RED))),
        (hello(), update(rectangle(0, 48, 1, 1, RED))),
        (hello(), update(rectangle(0, 0, 64, 48, RED, encoding=16))),
        (hello(), update(NOTHING)),
        (hello(), b"\x00\x00\xff\xff" + rectangle(0, 0, 1, 1, RED) * 9),
        (hello(1024, 1024), update(*[rectangle(0, 0, 1, 1, RED)] * 1024) * 5),
        (hello(), BELL * 1000),
        (hello(), b"\x03\0\0\0\x7f\xff\xff\xff"),
        (hello(), b"\x03\0\0\0\x80\0\0\0"),
        (hello(), b"\x04"),
        (hello(), b"\xff"),
        (b"RFB 003.008\n\x01\x01\0\0\0\0" + bytes(20) + b"\x7f\xff\xff\xff",),
    ],
)
async def test_what_is_none_is_none(said):
    with pytest.raises(NoPicture):
        await seen(*said)


async def test_a_server_that_leaves_gives_none():
    with pytest.raises(asyncio.IncompleteReadError):
        await seen(hello(), HALVES[:-1])


async def test_pixels_become_a_small_jpeg_of_the_same_colours():
    found = await seen(
        hello(1280, 800),
        update(rectangle(0, 0, 1280, 400, RED)),
        update(rectangle(0, 400, 1280, 400, GREEN)),
    )
    with Image.open(io.BytesIO(small(found))) as image:
        assert (image.format, image.size) == ("JPEG", (320, 200))
        for y, colour in ((50, (255, 0, 0)), (150, (0, 255, 0))):
            assert all(
                abs(a - b) < 16 for a, b in zip(image.getpixel((160, y)), colour, strict=True)
            )


# ------------------------------------------------------------------------------------ of whom


@pytest.fixture(scope="module")
def inner():
    made = InnerSshd()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def port(tmp_path, inner, monkeypatch):
    at(inner, monkeypatch)
    async with RoomPort(tmp_path, inner, places=(Pictures,)) as made:
        made.vnc.paints = HALVES
        yield made


@pytest.fixture
async def client(port):
    async with aiohttp.ClientSession(port.url, headers=port.headers(origin=None)) as made:
        yield made


async def test_a_desktop_that_runs_has_a_picture_and_is_left_as_it_is(client, port):
    reply = await client.get(ADDRESS)
    assert (reply.status, reply.content_type) == (200, "image/jpeg")
    assert reply.headers["Cache-Control"] == "no-store"
    with Image.open(io.BytesIO(await reply.read())) as image:
        assert image.size == (64, 48)
    assert port.gateway.seats == [(DESKTOP, False, False, "127.0.0.1")]
    assert port.vnc.shared == [b"\x01"]
    assert port.gateway.events == []


async def test_it_is_taken_once_for_all_who_ask_and_then_anew(client, port, monkeypatch):
    """But whether they may see it is asked each time."""
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(client.get(ADDRESS)) for _ in range(3)]
    assert [one.result().status for one in asking] == [200] * 3
    assert len(port.vnc.shared) == 1
    assert len(port.gateway.seats) == 3
    port.gateway.refusal = AccessDenied(public="No more.")
    assert (await client.get(ADDRESS)).status == 403
    port.gateway.refusal = None
    monkeypatch.setattr(pictures, "GOOD", 0.0)
    assert (await client.get(ADDRESS)).status == 200
    assert len(port.vnc.shared) == 2


async def test_one_that_does_not_run_has_none(client, port):
    port.gateway.route = None
    assert (await client.get(ADDRESS)).status == 204
    assert port.vnc.shared == []


@pytest.mark.parametrize("paints", [b"\x04", None])
async def test_one_that_shows_nothing_has_none(client, port, monkeypatch, paints):
    """Nonsense, or silence; nobody waits for long, and it is not looked for at once again."""
    monkeypatch.setattr(pictures, "WITHIN", 0.5)
    port.vnc.paints = paints
    assert (await client.get(ADDRESS)).status == 204
    assert (await client.get(ADDRESS)).status == 204
    assert len(port.vnc.shared) == 1


@pytest.mark.parametrize(
    ("path", "cookie", "status", "code"),
    [
        (ADDRESS, None, 401, "unauthenticated"),
        (ADDRESS, f"desk-guest={GUEST}", 401, "unauthenticated"),
        (ADDRESS, "desk=wrong", 401, "unauthenticated"),
        ("/pictures/ffffffffffffffff", f"desk={SECRET}", 404, "not_found"),
        ("/pictures/", f"desk={SECRET}", 404, "not_found"),
    ],
)
async def test_nobody_sees_what_is_not_theirs(port, path, cookie, status, code):
    async with aiohttp.ClientSession(port.url) as client:
        reply = await client.get(path, headers=port.headers(cookie=cookie))
        assert (reply.status, (await reply.json())["code"]) == (status, code)
    assert port.vnc.shared == []


async def test_a_picture_is_to_be_read_alone(client, port):
    reply = await client.post(ADDRESS, headers={"Origin": port.url})
    assert reply.status == 405
