"""A desktop in a browser, from the web socket to the VNC server: who gets there, what passes, and how
it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
from contextlib import suppress
from dataclasses import replace

import aiohttp
import asyncssh
import pytest

from broker.core.errors import (
    AccessDenied,
    BrokerUnavailable,
    CapacityExhausted,
    Conflict,
    HeldBack,
    SessionEnded,
)
from broker.core.gateway import Endpoint, Right
from broker.door import screen
from broker.door import sockets as door_sockets
from broker.door.screens import Screens
from tests.door import rfb
from tests.door.desktop import ADA, DESKTOP, EVE, GUEST, SECRET, SESSION, RoomPort, at
from tests.door.webport import PATIENCE
from tests.ports import free_port
from tests.ssh.inner import InnerSshd

SCREEN = f"/ws/desktops/{DESKTOP}/screen"
GUESTS = "/ws/guest/screen"
VIEW = f"{SCREEN}?view"


@pytest.fixture(scope="module")
def inner():
    made = InnerSshd()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def port(tmp_path, inner, monkeypatch):
    at(inner, monkeypatch)
    async with RoomPort(tmp_path, inner, places=(Screens,)) as made:
        yield made


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


# ------------------------------------------------------------------------------- the way there


async def test_a_page_gets_to_the_screen_and_back(port):
    """It is told of each step, and then of what it may; what it does comes to the desktop, what the
    desktop shows to it.
    """
    port.gateway.sentences = ["Your desktop starts …", "Nearly."]
    async with port.page() as page:
        ready = await page.be_ready()
        assert page.progress == ["Your desktop starts …", "Nearly."]
        assert ready == {
            "desktop": "main",
            "session": SESSION,
            "share": True,
            "rights": sorted(Right),
            "clipboard": None,
        }
        await page.shake_hands()
        await page.say(rfb.key(65) + rfb.pointer(1, 2, 1))
        await port.vnc.heard(rfb.key(65) + rfb.pointer(1, 2, 1))
        port.vnc.writers[0].write(b"\x02")
        assert await page.read(1) == b"\x02"
        assert port.vnc.shared == [b"\x01"]
    assert port.gateway.seats == [(DESKTOP, False, True, "127.0.0.1")]


async def test_it_is_counted_as_attached_for_so_long(port):
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\x1b"
    async with port.page(User_Agent=agent[:-1]) as page:
        await page.shake_hands()
        await until(lambda: port.gateway.events)
        ((word, attachment),) = port.gateway.events
        assert word == "attached"
        assert (attachment.session_id, attachment.user) == (SESSION, "ada")
        assert attachment.client == "Firefox 140"
        assert attachment.peer.startswith("127.0.0.1:")
        port.attendance.report_now()
        await until(lambda: any(port.gateway.reports))
        (activity,) = port.gateway.reports[-1]
        assert (activity.kinds, activity.ages) == (("browser",), {})
    await until(lambda: port.gateway.events[-1][0] == "detached")


async def test_a_guest_learns_neither_owner_nor_desktop(port):
    async with port.page(GUESTS) as page:
        ready = await page.be_ready()
        assert ready == {
            "desktop": "",
            "session": None,
            "share": False,
            "rights": [],
            "clipboard": None,
        }
        await page.shake_hands()
        port.attendance.report_now()
        await until(lambda: any(port.gateway.reports))
        (activity,) = port.gateway.reports[-1]
        assert (activity.kinds, activity.attachment.user) == (("guest",), "Eve")
    assert port.gateway.seats == [(None, False, True, "127.0.0.1")]


async def test_several_see_the_same_screen_by_one_connection(port, inner):
    before = inner.log.read_text().count("Accepted publickey")
    async with port.page() as one, port.page(GUESTS) as other:
        await one.shake_hands(b"\x00")
        await other.shake_hands(b"\x00")
        for writer in port.vnc.writers:
            writer.write(b"\x02")
        assert await one.read(1) == await other.read(1) == b"\x02"
    async with port.page() as page:
        await page.be_ready()
    assert inner.log.read_text().count("Accepted publickey") == before + 1


async def test_an_admin_s_look_is_asked_for_as_such(port):
    async with port.page(f"{SCREEN}?look") as page:
        assert (await page.be_ready())["share"] is False
    assert port.gateway.seats[0][:3] == (DESKTOP, True, True)


# ----------------------------------------------------------------------------- what may pass

TYPING = rfb.key(65) + rfb.pointer(1, 2, 1) + rfb.key_with_code(65, 38)
SMUGGLED = rfb.extended(rfb.REQUEST | 1, rfb.key(65))


@pytest.mark.parametrize("path", [GUESTS, VIEW])
async def test_who_only_looks_types_nothing_whatever_they_send(port, path):
    async with port.page(path) as page:
        await page.shake_hands()
        await page.say(TYPING + rfb.text(b"x") + rfb.size(9, 9) + rfb.fence())
        await until(lambda: port.vnc.said.endswith(rfb.fence()))
        told = bytes(port.vnc.said)
        assert told.removeprefix(port_said_unasked(path)) == rfb.fence()
        await page.say(SMUGGLED)
        assert (await page.end())[0] == 4400
        assert bytes(port.vnc.said) == told


def port_said_unasked(path):
    """What the gate says for whoever may not read what is copied."""
    return rfb.TELL_ONLY if path == GUESTS else b""


async def test_a_guest_that_may_does(port):
    port.gateway.guest_rights = (Right.CONTROL,)
    async with port.page(GUESTS) as page:
        assert (await page.be_ready())["rights"] == ["control"]
        await page.shake_hands()
        await page.say(rfb.key(65))
        await port.vnc.heard(port_said_unasked(GUESTS) + rfb.key(65))


async def test_who_wants_no_control_has_none(port):
    async with port.page(VIEW) as page:
        rights = (await page.be_ready())["rights"]
        assert set(rights) == set(Right) - {"control", "resize", "clipboard_in"}


# ---------------------------------------------------------------------------- who gets nowhere


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://elsewhere",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://127.0.0.1.elsewhere",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}0",
        "http://127.0.0.1:{port}.elsewhere",
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}",
    ],
)
async def test_another_page_opens_no_socket(port, origin):
    """Though the browser sends the cookie along."""
    origin = origin and origin.format(port=port.address[1])
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with port.page(origin=origin):
            pass
    assert refused.value.status == 403
    assert port.gateway.seats == []


@pytest.mark.parametrize(
    ("path", "cookie", "code"),
    [
        (SCREEN, None, 4401),
        (SCREEN, "desk=wrong", 4401),
        (SCREEN, f"desk-guest={GUEST}", 4401),
        (SCREEN, f"__Host-desk={SECRET}", 4401),
        (GUESTS, None, 4401),
        (GUESTS, f"desk={SECRET}", 4401),
        (GUESTS, f"desk-guest={SECRET}", 4401),
        ("/ws/desktops/ffffffffffffffff/screen", f"desk={SECRET}", 4404),
    ],
)
async def test_a_cookie_opens_what_is_its_own(port, path, cookie, code):
    assert (await port.ended(path, cookie=cookie))[0] == code
    assert port.vnc.writers == []


async def test_what_can_be_no_secret_the_broker_is_not_asked_about(port):
    """It hangs up on a door that sends what is longer than any message of it."""
    assert (await port.ended(cookie=f"desk={'x' * 129}"))[0] == 4401
    assert port.gateway.seats == []


async def test_strangers_keep_nobody_out(tmp_path, inner, monkeypatch):
    """However many wait for the broker's word."""
    at(inner, monkeypatch)
    async with RoomPort(tmp_path, inner, places=(Screens,), most=1, most_per_user=1) as port:
        port.gateway.hold.clear()
        async with port.page(cookie="desk=a"), port.page(cookie="desk=b"), port.page() as page:
            await until(lambda: len(port.gateway.seats) == 3)
            port.gateway.hold.set()
            await page.be_ready()


async def test_a_desktop_that_does_not_open_its_screen_is_not_waited_for(port, monkeypatch):
    monkeypatch.setattr(screen, "_OPEN", 0.0)
    assert (await port.ended())[0] == 1011


async def test_a_token_is_no_cookie(port):
    how = {"origin": None, "Authorization": f"Bearer desk_{'x' * 40}"}
    assert (await port.ended(**how))[0] == 4401


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (AccessDenied(public="Not you."), 4403),
        (CapacityExhausted(public="Full."), 4429),
        (HeldBack(public="Not yet."), 4409),
        (SessionEnded(), 4410),
        (Conflict(public="It does not run."), 4410),
        (BrokerUnavailable(), 1011),
    ],
)
async def test_a_refusal_is_told_by_code_and_sentence(port, refusal, code):
    port.gateway.refusal = refusal
    assert await port.ended() == (code, refusal.public)


async def test_a_long_sentence_is_cut_where_a_letter_ends(port):
    port.gateway.refusal = AccessDenied(public="é" * 100)
    _, sentence = await port.ended()
    assert sentence == "é" * 58 + "…"


@pytest.mark.parametrize(
    "path",
    [
        "/ws",
        "/ws/",
        "/ws/desktops//screen",
        "/ws/desktops/a/b/screen",
        f"{SCREEN}/",
        "/ws/desktops/../screen",
        "/ws/guests/screen",
    ],
)
async def test_nothing_else_is_there(port, path):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with port.page(path):
            pass
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "lines",
    [(), ("Connection: Upgrade", "Upgrade: h2c"), ("Connection: Upgrade", "Upgrade: websocket")],
)
async def test_what_is_no_web_socket_is_refused(port, lines):
    origin = f"Origin: {port.url}"
    host = f"Host: 127.0.0.1:{port.address[1]}"
    status, _, _ = await port.say(f"GET {SCREEN} HTTP/1.1", host, origin, *lines)
    assert status == 400
    assert port.gateway.seats == []


async def test_headers_without_end_are_not_taken(port):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with port.page(cookie=f"desk={SECRET}", **{f"X_{n}": "x" * 4000 for n in range(17)}):
            pass
    assert refused.value.status == 431


# ------------------------------------------------------------------------- breaking the protocol


@pytest.mark.parametrize(
    "said", ["[]", '{"go": false}', "{", "", '{"go": true, "x": 1}', "[" * 5000]
)
async def test_a_page_says_go_and_nothing_else(port, said):
    async with port.page() as page:
        await page.be_ready()
        await page.socket.send_str(said)
        assert (await page.end())[0] == 4400


async def test_nothing_is_said_before_it_is_time(port):
    """Neither to a desktop that is not there yet, nor before the page said that it is ready."""
    port.gateway.hold.clear()
    for early in ("text", "binary"):
        async with port.page() as page:
            if early == "text":
                await page.socket.send_str('{"go": true}')
            else:
                await page.say(b"RFB 003.008\n")
            assert (await page.end())[0] == 4400
    port.gateway.hold.set()
    async with port.page() as page:
        await page.be_ready()
        await page.say(b"RFB 003.008\n")
        assert (await page.end())[0] == 4400
    async with port.page() as page:
        await page.shake_hands()
        await page.socket.send_str('{"go": true}')
        assert (await page.end())[0] == 4400


async def test_a_page_that_never_says_go_is_not_waited_for(port, monkeypatch):
    monkeypatch.setattr(screen, "_PATIENCE", 0.05)
    async with port.page() as page:
        await page.be_ready()
        assert (await page.end())[0] == 4400


async def test_what_is_no_viewer_ends(port):
    async with port.page() as page:
        await page.go()
        await page.say(b"GET / HTTP/1.1\r\n\r\n")
        assert (await page.end())[0] == 4400
    await port.empty_rooms()


async def test_a_frame_may_be_large_but_not_without_end(port):
    async with port.page() as page:
        await page.shake_hands()
        text = rfb.text(b"x" * (2 << 20))
        await page.say(text)
        await port.vnc.heard(text)
        await page.say(bytes((4 << 20) + 1))
        assert (await page.end())[0] == 1009
    await port.empty_rooms()


# ------------------------------------------------------------------------------------- the ends


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda rooms: rooms.end_session(SESSION, "It sleeps.", sleeps=True), 4410),
        (lambda rooms: rooms.end_session(SESSION, "It sleeps.", sleeps=False), 4410),
        (lambda rooms: rooms.end_user(ADA.user_id, "It sleeps."), 4409),
        (lambda rooms: rooms.end_credential(ADA.credential, "It sleeps."), 4401),
    ],
)
async def test_what_the_broker_ends_is_ended_with_its_sentence(port, end, code):
    """Though the sshd's connection ends with it."""
    async with port.page() as page:
        await page.shake_hands()
        end(port.rooms)
        assert await page.end() == (code, "It sleeps.")
    await port.empty_rooms()
    assert ("lost", SESSION) not in port.gateway.events


async def test_others_stay(port):
    async with port.page() as page, port.page(GUESTS) as guest:
        await page.shake_hands()
        await guest.shake_hands()
        port.rooms.end_session("another", "Over.", sleeps=False)
        port.rooms.end_user("another", "Over.")
        port.rooms.end_credential(EVE.credential, "You were sent away.")
        assert await guest.end() == (4409, "You were sent away.")
        await page.say(rfb.fence())
        await until(lambda: port.vnc.said.endswith(rfb.fence()))


async def test_with_their_owner_guests_leave(port):
    async with port.page(GUESTS) as guest:
        await guest.shake_hands()
        port.rooms.end_user(ADA.user_id, "The account is gone.")
        assert await guest.end() == (4409, "The account is gone.")


async def test_who_was_only_about_to_enter_what_sleeps_wakes_it(port):
    """The way there breaks with the session, and is asked for anew."""
    gone = port.gateway.route
    with port.inner.stopped() as resume:
        async with port.page() as page:
            await until(lambda: port.rooms.sessions() == {SESSION})
            port.rooms.end_session(SESSION, "It sleeps.", sleeps=True)
            await until(lambda: len(port.gateway.seats) == 2)
            resume()
            await page.shake_hands()
    assert gone is port.gateway.route


async def test_who_was_about_to_enter_what_is_over_is_told(port):
    with port.inner.stopped():
        async with port.page() as page:
            await until(lambda: port.rooms.sessions() == {SESSION})
            port.rooms.end_session(SESSION, "Stopped.", sleeps=False)
            assert await page.end() == (4410, "Stopped.")


async def test_a_screen_that_goes_away_is_come_back_to(port):
    async with port.page() as page:
        await page.shake_hands()
        port.vnc.writers[0].close()
        assert (await page.end())[0] == 1012
    assert ("lost", SESSION) not in port.gateway.events


async def test_a_screen_that_is_not_there_is_told(port):
    await port.vnc.close()
    assert (await port.ended())[0] == 1011


async def test_a_desktop_that_cannot_be_reached_is_looked_at(port):
    """Once for each try, and by no name of a host that a page could show."""
    nowhere = Endpoint("127.0.0.1", free_port())
    port.gateway.route = replace(port.gateway.route, endpoints=(nowhere,))
    code, sentence = await port.ended()
    assert code == 1011
    assert str(nowhere.port) not in sentence
    assert port.gateway.events == [("lost", SESSION)] * 2


async def test_another_host_key_is_nobody_s_desktop(port):
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    port.gateway.route = replace(port.gateway.route, host_key=other)
    assert (await port.ended())[0] == 1011
    assert port.vnc.writers == []


async def test_a_desktop_that_does_not_run_and_is_not_to_be_started(port):
    port.gateway.route = None
    assert (await port.ended())[0] == 4410


async def test_a_door_that_leaves_sends_pages_to_another(port):
    async with port.page() as page:
        await page.shake_hands()
        port.rooms.drain()
        assert (await page.end())[0] == 1012
    assert (await port.ended())[0] == 1012


async def test_a_door_that_stops_says_so(port):
    async with port.page() as page:
        await page.shake_hands()
        await port.rooms.close()
        assert (await page.end())[0] == 1012


async def test_a_browser_that_leaves_is_gone_at_once(port):
    """Before its desktop is there, and behind; by a goodbye or without one."""
    port.gateway.hold.clear()
    async with port.page():
        await until(lambda: port.gateway.seats)
    await port.empty_rooms()
    port.gateway.hold.set()
    async with port.page() as page:
        await page.shake_hands()
        page.socket._response.connection.transport.abort()
        await port.empty_rooms()
    await until(lambda: port.gateway.events[-1][0] == "detached")


async def test_a_connection_that_broke_is_made_anew(port):
    """And one that was made with another key."""
    async with port.page() as page:
        await page.shake_hands()
        (shared,) = port.rooms._connections._shared.values()
        shared.dial.result().ssh.abort()
        assert (await page.end())[0] == 1012
    port.rooms._connections._shared[SESSION] = shared
    async with port.page() as page:
        await page.be_ready()
        made = port.rooms._connections._shared[SESSION]
        assert made is not shared
    spaced = port.gateway.route.client_key.replace("\n-----END", "\n\n-----END")
    port.gateway.route = replace(port.gateway.route, client_key=spaced)
    async with port.page() as page:
        await page.be_ready()
        assert port.rooms._connections._shared[SESSION] is not made


async def test_a_connection_is_kept_for_a_while_and_no_longer(port):
    port.rooms._connections._linger = 0.05
    async with port.page() as page:
        await page.be_ready()
    assert port.rooms.sessions() == {SESSION}
    await until(lambda: port.rooms.sessions() == set())


async def test_what_is_held_is_known(port):
    async with port.page() as page, port.page(GUESTS) as guest:
        await page.be_ready()
        await guest.be_ready()
        assert {one.credential for one in port.rooms.identities()} == {
            ADA.credential,
            EVE.credential,
        }
        assert port.rooms.sessions() == {SESSION}


# ------------------------------------------------------------------------------------ the bounds


async def test_one_person_has_so_many(tmp_path, inner, monkeypatch):
    """A guest counts for themselves."""
    at(inner, monkeypatch)
    async with (
        RoomPort(tmp_path, inner, places=(Screens,), most_per_user=1) as port,
        port.page() as one,
    ):
        await one.be_ready()
        assert (await port.ended())[0] == 4429
        async with port.page(GUESTS) as guest:
            await guest.be_ready()


async def test_there_are_so_many_in_all(tmp_path, inner, monkeypatch):
    at(inner, monkeypatch)
    async with RoomPort(tmp_path, inner, places=(Screens,), most=1, most_per_user=1) as port:
        async with port.page() as one:
            await one.be_ready()
            assert (await port.ended(GUESTS))[0] == 4429
            assert len(port.gateway.seats) == 1
        await port.empty_rooms()
        async with port.page(GUESTS) as guest:
            await guest.be_ready()


async def test_a_live_one_outlives_what_bounds_requests(tmp_path, inner, monkeypatch):
    at(inner, monkeypatch)
    bounds = {
        "header_timeout": 0.2,
        "body_timeout": 0.2,
        "answer_timeout": 0.2,
        "stall_timeout": 0.2,
    }
    async with (
        RoomPort(tmp_path, inner, places=(Screens,), **bounds) as port,
        port.page() as page,
    ):
        await page.shake_hands()
        await asyncio.sleep(0.8)
        await page.say(rfb.fence())
        await port.vnc.heard(rfb.fence())


async def test_one_that_is_half_open_ends(port, monkeypatch):
    """Nothing says that the other side is gone, but that it answers no more."""
    monkeypatch.setattr(door_sockets, "HEARTBEAT", 0.2)
    line = await port.line()
    host = f"127.0.0.1:{port.address[1]}"
    line.send(
        f"GET {SCREEN} HTTP/1.1\r\nHost: {host}\r\nOrigin: {port.url}\r\nCookie: desk={SECRET}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode()
    )
    assert (await line.head())[0] == 101
    await line.rest()
    await port.empty_rooms()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_viewer_that_never_reads_costs_no_memory(tmp_path, inner, monkeypatch):
    """The desktop is held back, and the viewer is cut when it has taken nothing for so long."""
    at(inner, monkeypatch)
    async with RoomPort(tmp_path, inner, places=(Screens,), stall_timeout=2.0) as port:
        port.vnc.flood = True
        lines = [await silent(port) for _ in range(4)]
        before = resident()
        await asyncio.sleep(1)
        assert resident() - before < 8 << 20
        assert len(lines) == 4
        await port.empty_rooms()


async def test_a_desktop_that_never_reads_costs_no_memory(port, monkeypatch):
    """Though the browser says without end what it may say."""
    monkeypatch.setattr(screen, "_RATE", 1 << 30)
    port.vnc.deaf = True
    async with port.page() as page:
        await page.shake_hands()
        before, sent = resident(), 0
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while True:
                    await page.say(rfb.text(bytes(1 << 20)))
                    sent += 1
        assert sent < 24
        assert resident() - before < 24 << 20


async def silent(port):
    """Somebody who says all that is wanted, and reads none of what comes then."""
    line = await port.line(limit=4096)
    line.writer.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    host = f"127.0.0.1:{port.address[1]}"
    line.send(
        f"GET {SCREEN} HTTP/1.1\r\nHost: {host}\r\nOrigin: {port.url}\r\nCookie: desk={SECRET}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode()
    )
    assert (await line.head())[0] == 101
    async with asyncio.timeout(PATIENCE):
        await line.reader.readuntil(b"ready")
    line.send(frame(1, json.dumps({"go": True}).encode()) + frame(2, rfb.HELLO))
    line.writer.transport.pause_reading()
    return line


def frame(kind, payload):
    """A client's, under a mask of zeros."""
    return bytes((0x80 | kind, 0x80 | len(payload))) + bytes(4) + payload
