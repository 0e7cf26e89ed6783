"""What a desktop plays, in a browser: samples as they come, where there are any."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from broker.core.gateway import Right
from broker.door.sounds import Sounds
from tests.door.desktop import ADA, DESKTOP, GUEST, RoomPort
from tests.door.webport import PATIENCE
from tests.ssh.inner import InnerSshd

SOUND = f"/ws/desktops/{DESKTOP}/sound"
GUESTS = "/ws/guest/sound"

#: Plays what it was asked for, and then goes on as long as somebody listens.
PLAYER = """\
#!/bin/sh
echo "$@"
exec sleep 600
"""


@pytest.fixture(scope="module")
def inner():
    made = InnerSshd()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def player(inner):
    """Have the desktop play."""
    file = inner.base / "bin" / "parec"

    def play(script=PLAYER):
        file.write_text(script)
        file.chmod(0o755)

    yield play
    file.unlink(missing_ok=True)


@pytest.fixture
async def port(tmp_path, inner):
    async with RoomPort(tmp_path, inner, places=(Sounds,)) as made:
        yield made


@pytest.mark.parametrize("path", [SOUND, GUESTS])
async def test_samples_come_as_they_are_played(port, player, path):
    """In the form that pages know; nothing is woken for them."""
    player()
    port.gateway.guest_rights = (Right.SOUND,)
    async with port.page(path) as page:
        wanted = b"--device=@DEFAULT_MONITOR@ --format=s16le --rate=48000 --channels=2"
        assert await page.read(len(wanted)) == wanted
    assert [wake for _, _, wake, _ in port.gateway.seats] == [False]
    await port.empty_rooms()


async def test_a_desktop_without_sound_says_so(port):
    assert (await port.ended(SOUND))[0] == 4404


async def test_a_sound_that_ends_is_come_back_to(port, player):
    player("#!/bin/sh\nprintf abcd\n")
    async with port.page(SOUND) as page:
        assert await page.read(4) == b"abcd"
        assert (await page.end())[0] == 1012


async def test_one_that_does_not_run_plays_nothing(port):
    port.gateway.route = None
    assert (await port.ended(SOUND))[0] == 4410


async def test_who_may_not_hear_does_not(port, player):
    player()
    assert (await port.ended(GUESTS))[0] == 4403
    assert (await port.ended(SOUND, cookie=None))[0] == 4401
    assert (await port.ended(SOUND, cookie=f"desk-guest={GUEST}"))[0] == 4401
    assert (await port.ended("/ws/desktops/ffffffffffffffff/sound"))[0] == 4404
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with port.page(SOUND, origin="http://elsewhere"):
            pass
    assert refused.value.status == 403


async def test_nothing_is_heard_from_who_listens(port, player):
    player()
    async with port.page(SOUND) as page:
        await page.read(4)
        await page.say(b"x")
        assert (await page.end())[0] == 4400


async def test_it_ends_with_what_let_them_in(port, player):
    player()
    async with port.page(SOUND) as page:
        await page.read(4)
        port.rooms.end_user(ADA.user_id, "Over.")
        assert await page.end() == (4409, "Over.")
    await port.empty_rooms()


async def test_what_records_it_ends_when_nobody_listens(port, player, inner):
    player(
        f"#!/bin/sh\necho hello\ntrap 'rm {inner.shared}/playing' EXIT HUP TERM PIPE\n"
        f"touch {inner.shared}/playing\nwhile echo x; do sleep 0.05; done\n"
    )
    async with port.page(SOUND) as page:
        await page.read(8)
        assert (inner.shared / "playing").exists()
    async with asyncio.timeout(PATIENCE):
        while (inner.shared / "playing").exists():
            await asyncio.sleep(0.02)
