"""What strangers, other people and other pages are refused at the browser's door of a whole Desk."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sqlite3
import struct
import time

import aiohttp
import pytest

from bench import doors
from tests.browser.desks import PASSWORD
from tests.browser.rfb import Ended
from tests.browser.visitor import Visitor, told
from tests.e2e.desk import HOST

pytestmark = pytest.mark.e2e

#: Bytes that a door may have grown by an attack.
LITTLE = 5 << 20

MICROSECONDS = 1_000_000

#: An id that nobody's desktop has.
NOWHERE = "0123456789abcdef"


@pytest.fixture(scope="module")
def eve(desk):
    return desk.with_password("eve")


@pytest.fixture
def id_of_ada(desk, ada):
    return next(one["id"] for one in desk.listing("desktops") if one["user"] == "ada")


def wrong_origins(origin):
    scheme, _, host = origin.partition("://")
    name, _, port = host.partition(":")
    return {
        "foreign": "http://evil.example",
        "absent": None,
        "of a file": "null",
        "a suffix": f"{origin}.evil.example",
        "a prefix": f"{scheme}://{name}",
        "another port": f"{scheme}://{name}:{int(port) + 1}",
        "another scheme": f"https://{host}",
    }


# -- pages of others
async def test_a_page_of_another_origin_opens_no_screen_and_changes_nothing(
    visitor, origin, id_of_ada
):
    ada = await visitor("ada")
    for kind, wrong in wrong_origins(origin).items():
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with ada.relay(f"/ws/desktops/{id_of_ada}/screen", Origin=wrong):
                pass
        assert refused.value.status == 403, kind
        for method, path in (
            ("POST", "/api/v1/desktops"),
            ("POST", "/api/v1/sign-out"),
            ("PUT", f"/files/{id_of_ada}/forged"),
        ):
            status, answer = await ada.ask(method, path, {"name": "forged"}, Origin=wrong)
            assert (status, answer["code"]) == (403, "access_denied"), (kind, path)
    assert (await ada.api("GET", "/caller"))["user"] == "ada"
    assert [one["name"] for one in (await ada.api("GET", "/desktops"))["items"]] == ["main"]


async def test_a_change_without_the_token_of_ones_own_page_is_refused(visitor, id_of_ada, eve):
    ada, stranger = await visitor("ada"), await visitor("eve")
    right = ada.csrf
    for wrong in (None, "", right[:-1], right.swapcase(), stranger.csrf):
        ada.csrf = wrong
        for method, path in (
            ("POST", "/api/v1/desktops"),
            ("POST", "/api/v1/sign-out"),
            ("PUT", f"/files/{id_of_ada}/forged"),
        ):
            status, answer = await ada.ask(method, path, {"name": "forged"})
            assert (status, answer["code"]) == (403, "access_denied"), (wrong, path)
    ada.csrf = right
    await ada.api("POST", f"/desktops/{id_of_ada}/start")


async def test_what_is_another_persons_looks_like_what_is_not_there(visitor, id_of_ada, eve):
    other = await visitor("eve")
    for method, path in (
        ("GET", "/api/v1/desktops/{}"),
        ("POST", "/api/v1/desktops/{}/start"),
        ("GET", "/pictures/{}"),
        ("GET", "/files/{}"),
        ("GET", "/files/{}/.bashrc"),
        ("PUT", "/files/{}/left-by-eve"),
        ("POST", "/api/v1/desktops/{}/shares"),
    ):
        body = {"mode": "ro", "valid": "30m"} if "shares" in path else None
        theirs = await other.ask(method, path.format(id_of_ada), body)
        nobodys = await other.ask(method, path.format(NOWHERE), body)
        assert theirs[0] == nobodys[0] == 404, (method, path, theirs, nobodys)
        assert str(theirs[1]).replace(id_of_ada, NOWHERE) == str(nobodys[1]), path
    for path in ("/ws/desktops/{}/screen", "/ws/desktops/{}/sound", "/ws/desktops/{}/screen?look"):
        ends = []
        for desktop in (id_of_ada, NOWHERE):
            async with other.relay(path.format(desktop)) as socket:
                with pytest.raises(Ended) as ended:
                    await told(socket)
            ends.append((ended.value.code, ended.value.reason.replace(desktop, NOWHERE)))
        assert ends[0] == ends[1], path
        assert ends[0][0] in (4403, 4404), path


# -- links
def link_of(desk, who):
    printed = desk.ok(who, "desk web").strip().splitlines()
    (line,) = [one for one in printed if "#link=" in one]
    return line.strip().partition("#link=")[2]


@contextlib.asynccontextmanager
async def racers(origin, count):
    """So many strangers, each from an address of their own and connected already."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(count):
            connector = aiohttp.TCPConnector(local_addr=(f"127.0.7.{number + 1}", 0))
            session = aiohttp.ClientSession(connector=connector, headers={"Origin": origin})
            made.append(await stack.enter_async_context(session))

        async def connect(session):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{origin}/healthz") as reply:
                        if reply.status != 429:
                            return
                await asyncio.sleep(0.1)

        await asyncio.gather(*map(connect, made))
        yield made


async def test_of_a_hundred_who_race_for_a_link_one_wins(desk, origin, ada):
    token = link_of(desk, ada)

    async def run(session):
        async with session.post(f"{origin}/api/v1/sign-in/link", json={"token": token}) as reply:
            return reply.status, reply.headers.get("Set-Cookie"), await reply.text()

    async with racers(origin, 100) as all_of_them:
        found = await asyncio.gather(*map(run, all_of_them))
    winners = [one for one in found if one[0] == 200]
    losers = {status for status, *_ in found if status != 200}
    assert (len(winners), losers) == (1, {401}), found[:5]
    assert all(cookie is None for status, cookie, _ in found if status != 200)
    assert winners[0][1].startswith("desk=")
    assert token not in desk.log.read_text()
    assert token not in str(desk.listing("audit"))


async def test_a_link_is_dead_after_its_minute(desk, visitor, ada):
    token = link_of(desk, ada)
    with contextlib.closing(sqlite3.connect(desk.state / "desk.db")) as database, database:
        (expires,) = database.execute("select max(expires_at) from sign_in_link").fetchone()
        left = expires / MICROSECONDS - time.time()
        assert 50 < left <= 60
        past = expires - 60 * MICROSECONDS
        database.execute("update sign_in_link set expires_at = ?", (past,))
    late = await visitor()
    status, answer = await late.ask("POST", "/api/v1/sign-in/link", {"token": token})
    assert (status, answer["code"]) == (401, "unauthenticated")


async def test_what_lets_somebody_in_is_kept_nowhere_as_it_is(desk, visitor, ada):
    mine = await visitor("ada")
    secrets = [*mine.cookies.values(), mine.csrf, PASSWORD, link_of(desk, ada)]
    with contextlib.closing(sqlite3.connect(desk.state / "desk.db")) as database:
        dump = "\n".join(database.iterdump())
    for secret in secrets:
        assert secret not in dump
        assert secret not in desk.log.read_text()


# -- who wants to take the door's memory
@contextlib.contextmanager
def no_larger(desk):
    """No door grows by more than a little."""
    before = {pid: doors.memory(pid) for pid in doors.of(desk)}
    yield
    grown = {pid: doors.memory(pid) - held for pid, held in before.items()}
    assert max(grown.values()) < LITTLE, grown


async def said(desk, request, *, more=b"", within=20.0):
    """The status line that the port answers to these bytes; nothing where it hangs up."""
    reader, writer = await asyncio.open_connection(HOST, desk.http_port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
            writer.write(more)
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(within):
                return (await reader.readline()).decode().strip()
        return ""
    finally:
        writer.transport.abort()


def request(origin, method, path, *headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {origin.partition('://')[2]}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_bombs_and_giants_are_refused_and_take_no_memory(desk, origin, visitor):
    mine = await visitor("ada")
    bomb = gzip.compress(bytes(256 << 20), 9)
    json = ("Content-Type: application/json", f"Origin: {origin}", f"Desk-CSRF: {mine.csrf}")
    cookie = "Cookie: " + "; ".join(f"{name}={value}" for name, value in mine.cookies.items())
    giants = {
        "a packed body": (
            request(origin, "POST", "/api/v1/desktops", *json, cookie, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}"),
            bomb,
        ),
        "a packed body, signed out": (
            request(origin, "POST", "/api/v1/sign-in", *json, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}"),
            bomb,
        ),
        "a header of a megabyte": (request(origin, "GET", "/", "X: " + "x" * (1 << 20)), b""),
        "a path of a megabyte": (request(origin, "GET", "/" + "x" * (1 << 20)), b""),
        "a cookie of a megabyte": (request(origin, "GET", "/", "Cookie: desk=" + "x" * (1 << 20)), b""),
        "a body of a megabyte": (
            request(origin, "POST", "/api/v1/sign-in", *json, f"Content-Length: {1 << 20}"),
            b"x" * (1 << 20),
        ),
        "an endless body": (
            request(origin, "POST", "/api/v1/sign-in", *json, "Transfer-Encoding: chunked"),
            64 * (b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        ),
    }  # fmt: skip
    await said(desk, request(origin, "GET", "/"))
    with no_larger(desk):
        for kind, (head, body) in giants.items():
            try:
                answer = await said(desk, head, more=body)
            except TimeoutError:
                pytest.fail(f"{kind}: neither an answer nor an end")
            assert answer == "" or " 4" in answer[:13], (kind, answer)


async def test_who_says_little_for_long_is_let_go_and_costs_little(desk, origin, visitor):
    """Half of a request, of an upgrade, of a word: beside them, others are served."""
    mine = await visitor("ada")
    halves = [
        b"",
        b"GET / HT",
        request(origin, "GET", "/")[:-2],
        request(origin, "POST", "/api/v1/sign-in", "Content-Length: 100") + b"{",
        request(origin, "GET", "/ws/guest/screen", f"Origin: {origin}", "Upgrade: websocket", "Connection: Upgrade"),
    ]  # fmt: skip
    with no_larger(desk):
        held = []
        try:
            for number in range(50):
                source = (f"127.0.8.{number + 1}", 0)
                connection = await asyncio.open_connection(HOST, desk.http_port, local_addr=source)
                connection[1].write(halves[number % len(halves)])
                held.append(connection)
            async with asyncio.timeout(5):
                await mine.api("GET", "/caller")
            async with asyncio.timeout(60):
                await asyncio.gather(*(_ended(reader) for reader, _ in held))
        finally:
            for _, writer in held:
                writer.transport.abort()


async def _ended(reader):
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass


# -- viewers
async def test_viewers_that_take_nothing_cost_little_and_those_too_many_are_refused(
    desk, visitor, id_of_ada
):
    """Half of them never say that they are ready, the others never read what they asked for."""
    mine = await visitor("ada")
    path = f"/ws/desktops/{id_of_ada}/screen"
    async with contextlib.AsyncExitStack() as stack:
        # The first viewer is what a viewer costs.
        await stack.enter_async_context(mine.screen(path))
        with no_larger(desk):
            refused = None
            for number in range(40):
                socket = await stack.enter_async_context(mine.relay(path))
                try:
                    await told(socket)
                except Ended as ended:
                    refused = ended
                    break
                if number % 2:
                    await socket.send_str('{"go": true}')
            assert refused is not None, "forty viewers of one person"
            assert refused.code == 4429
    assert (await mine.api("GET", "/caller"))["user"] == "ada"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\xfe" * 64, id="an unknown message"),
        pytest.param(struct.pack(">BxxxI", 6, 1 << 31), id="a text of two gigabytes"),
        pytest.param(struct.pack(">BxH", 2, 65535) + bytes(4 * 65535), id="encodings without end"),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_cut_off(visitor, desk, id_of_ada, message):
    mine = await visitor("ada")
    with no_larger(desk):
        async with mine.screen(f"/ws/desktops/{id_of_ada}/screen") as screen:
            with pytest.raises((Ended, ConnectionError)) as ended:
                await screen.raw(message)
                async with asyncio.timeout(10):
                    while True:
                        await screen.frame()
            if isinstance(ended.value, Ended):
                assert ended.value.code == 4400


async def test_text_behind_the_beginning_and_bytes_before_it_are_refused(visitor, id_of_ada):
    mine = await visitor("ada")
    path = f"/ws/desktops/{id_of_ada}/screen"
    async with mine.screen(path) as screen:
        await screen.socket.send_str('{"go": true}')
        with pytest.raises(Ended) as ended:
            while True:
                await screen.frame()
        assert ended.value.code == 4400
    async with mine.relay(path) as socket:
        await told(socket)
        await socket.send_bytes(b"RFB 003.008\n")
        with pytest.raises(Ended) as ended:
            await told(socket)
        assert ended.value.code == 4400


async def test_somebody_who_is_signed_out_is_shown_nothing(origin, id_of_ada):
    async with Visitor(origin) as stranger:
        for path in (f"/ws/desktops/{id_of_ada}/screen", "/ws/guest/screen"):
            async with stranger.relay(path) as socket:
                with pytest.raises(Ended) as ended:
                    await told(socket)
            assert ended.value.code == 4401
        for path in (f"/pictures/{id_of_ada}", f"/files/{id_of_ada}", "/api/v1/desktops"):
            assert (await stranger.ask("GET", path))[0] == 401
