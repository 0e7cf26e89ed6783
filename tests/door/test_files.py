"""Files of a desktop's home in a browser: by their names, whole or not at all, by whoever may."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
from dataclasses import replace
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.gateway import Right
from broker.core.tokens import csrf_of
from broker.door import homes
from broker.door.files import Files
from broker.door.paths import BadPath, attachment, of_address, of_query
from tests.door.desktop import ADA, DESKTOP, GUEST, SECRET, SESSION, RoomPort
from tests.door.webport import PATIENCE, PLAIN
from tests.ssh.inner import UID, InnerSshd

FILES = f"/files/{DESKTOP}"
PROOF = csrf_of(SECRET)
HOSTILE = [
    "a b.txt",
    "数据 é.txt",
    'quo"te.txt',
    "semi;colon=x",
    "new\nline",
    "cr\rlf\nSet-Cookie: a=b",
    "tab\t\x01\x7f",
    "..hidden",
    "...",
    "-rf",
    "a%2fb",
    "back\\slash",
    "'; rm -rf ~; '",
    "\u202egnp.exe",
    "😀" * 40,
    "x" * 255,
]

# ------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "raw",
    [
        "..",
        "a/..",
        "../a",
        "a/../b",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "/a",
        "a/",
        "",
        "%2e%2e",
        "%2E",
        "a/%2e%2e/b",
        "a%2fb",
        "..%2fa",
        "%2fetc",
        "a%00b",
        "%ff",
        "%c0%ae%c0%ae",
        "x" * 256,
        "a/" * 2000 + "a",
    ],
)
def test_nothing_leads_out_of_a_home(raw):
    with pytest.raises(BadPath):
        of_address(raw)


@pytest.mark.parametrize(
    "raw",
    ["..", "a/../b", "a%2f..%2fb", "%2e%2e", "/", "/etc", "%2Fetc", "a//b", "a%00", "%ff", "a%2f"],
)
def test_nor_by_a_query(raw):
    with pytest.raises(BadPath):
        of_query(raw)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_what_is_a_name_is_found_under_it(parts):
    path = "/".join(parts)
    raw = "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
    try:
        found = of_address(raw)
    except BadPath:
        odd = any(p in {".", ".."} or "/" in p or "\0" in p for p in parts)
        lone = any(0xD800 <= ord(c) < 0xE000 for c in path)
        assert odd or lone
        return
    assert found == path
    assert of_query(quote(path, safe="", errors="surrogatepass")) == path


@given(st.text(min_size=1))
def test_a_header_with_a_name_is_one_header(name):
    """Whatever is in it; and it is read back as it was."""
    if any(0xD800 <= ord(c) < 0xE000 for c in name):
        return
    header = attachment(name)
    assert header.isascii()
    assert header.isprintable()
    kind, plain, coded = header.split("; ", 2)
    assert kind == "attachment"
    assert plain.count('"') == 2
    assert quote(name, safe="") == coded.removeprefix("filename*=UTF-8''")


# ------------------------------------------------------------------------------ in a real home


@pytest.fixture(scope="module")
def inner():
    made = InnerSshd()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def port(tmp_path, inner):
    async with FilesPort(tmp_path, inner) as made:
        yield made


class FilesPort(RoomPort):
    def __init__(self, folder, inner, **settings):
        told = replace(PLAIN, **settings)
        super().__init__(folder, inner, places=(lambda rooms: Files(rooms, told),), **settings)

    @property
    def at(self):
        return self.inner.home

    async def ask(self, method, path, *, csrf=PROOF, **how):
        headers = self.headers(**how.pop("headers", {}))
        if isinstance(how.get("data"), bytes):
            how["data"] = io.BytesIO(how["data"])
        if csrf is not None:
            headers["Desk-CSRF"] = csrf
        url = f"{self.url}{path}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as client,
            client.request(
                method, aiohttp.client.URL(url, encoded=True), headers=headers, **how
            ) as reply,
        ):
            return reply.status, reply.headers, await reply.read()

    async def put(self, name, data, **how):
        return (await self.ask("PUT", f"{FILES}/{quote(name)}", data=data, **how))[0]

    async def get(self, name, **how):
        return await self.ask("GET", f"{FILES}/{quote(name)}", **how)

    def head(self, name, length):
        """Of a request that puts so much."""
        lines = (
            f"PUT {FILES}/{name} HTTP/1.1",
            f"Host: 127.0.0.1:{self.address[1]}",
            f"Origin: {self.url}",
            f"Cookie: desk={SECRET}",
            f"Desk-CSRF: {PROOF}",
            f"Content-Length: {length}",
        )
        return "\r\n".join((*lines, "", "")).encode()

    async def listing(self, path=""):
        status, _, body = await self.ask("GET", f"{FILES}?path={quote(path, safe='')}")
        assert status == 200, body
        told = json.loads(body)
        assert told["path"] == path
        return {one["name"]: one for one in told["entries"]}


def made(home, name, data=b"x"):
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.chown(file, UID, UID)
    return file


def left(home):
    """Pieces of what was not finished."""
    return list(home.rglob("*.part"))


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_file_goes_there_and_back_under_its_name(port, name):
    if len(name.encode()) > 255:
        name = name[:40]
    data = os.urandom(1000)
    folder = "uploads/deep"
    assert await port.put(f"{folder}/{name}", data) == 201
    assert (port.at / folder / name).read_bytes() == data
    assert (port.at / folder / name).stat().st_uid == UID
    status, headers, body = await port.get(f"{folder}/{name}")
    assert (status, body) == (200, data)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == attachment(name)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in headers
    assert name in await port.listing(folder)
    (port.at / folder / name).unlink()


async def test_a_large_file_comes_whole_both_ways(port):
    data = os.urandom(1 << 20) * 9 + b"end"
    assert await port.put("large.bin", data) == 201
    assert left(port.at) == []
    _, headers, body = await port.get("large.bin")
    assert headers["Content-Length"] == str(len(data))
    assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()
    (port.at / "large.bin").unlink()


async def test_an_empty_file_is_one(port):
    assert await port.put("empty", b"") == 201
    assert (await port.get("empty"))[2] == b""
    (port.at / "empty").unlink()


async def test_a_folder_is_told_by_what_is_in_it(port, tmp_path):
    made(port.at, "list/b.txt", b"12345")
    made(port.at, "list/a.txt")
    (port.at / "list/sub").mkdir()
    (port.at / "list/link").symlink_to("b.txt")
    (port.at / "list/dangling").symlink_to("nowhere")
    os.mkfifo(port.at / "list/pipe")
    (port.at / "list").joinpath(os.fsdecode(b"\xff\xfe")).write_bytes(b"no text")
    found = await port.listing("list")
    assert list(found) == ["a.txt", "b.txt", "link", "sub"]
    assert (found["b.txt"]["kind"], found["b.txt"]["size"]) == ("file", 5)
    assert (found["link"]["kind"], found["link"]["size"]) == ("file", 5)
    assert (found["sub"]["kind"], found["sub"]["size"]) == ("folder", None)
    assert found["b.txt"]["modified"].endswith("Z")
    assert "list" in await port.listing()


@pytest.mark.parametrize("path", ["none", "list.none/x"])
async def test_what_is_not_there_is_not_found(port, path):
    assert (await port.get(path))[0] == 404
    assert (await port.ask("GET", f"{FILES}?path={path}"))[0] == 404


async def test_what_is_no_file_is_none(port):
    (port.at / "folder").mkdir(exist_ok=True)
    if not (port.at / "fifo").exists():
        os.mkfifo(port.at / "fifo")
    assert (await port.get("folder"))[0] == 404
    async with asyncio.timeout(PATIENCE):
        assert (await port.get("fifo"))[0] == 404
    (port.at / "fifo").unlink()


async def test_what_the_account_may_not_read_stays_unread(port):
    file = made(port.at, "secret")
    os.chown(file, 0, 0)
    file.chmod(0o600)
    status, _, body = await port.get("secret")
    assert (status, json.loads(body)["code"]) == (403, "access_denied")


@pytest.mark.parametrize(
    "path", ["..", "../x", "%2e%2e/x", "a//b", "/etc/passwd", "a%00", "a%2f..%2fb"]
)
async def test_no_address_leads_out(port, path):
    for method in ("GET", "PUT"):
        status, _, _ = await port.ask(
            method, f"{FILES}/{path}", data=b"x" if method == "PUT" else None
        )
        assert status in {400, 404}
    assert (await port.ask("GET", f"{FILES}?path={path}"))[0] == 400
    assert port.gateway.seats == []


# ------------------------------------------------------------------------ whole or not at all


async def test_what_is_there_is_not_replaced(port):
    """Though it came there while the file was on its way."""
    made(port.at, "mine.txt", b"old")
    status, _, body = await port.ask("PUT", f"{FILES}/mine.txt", data=b"new")
    assert (status, json.loads(body)["code"]) == (409, "conflict")

    async def slowly():
        yield b"first"
        async with asyncio.timeout(PATIENCE):
            while not left(port.at):
                await asyncio.sleep(0.01)
        made(port.at, "late.txt", b"old")
        yield b"second"

    assert await port.put("late.txt", slowly()) == 409
    for name in ("mine.txt", "late.txt"):
        assert (port.at / name).read_bytes() == b"old"
        (port.at / name).unlink()
    assert left(port.at) == []


async def test_a_refusal_is_heard_behind_a_large_body(port):
    """A browser that still sends does not listen."""
    made(port.at, "there", b"old")
    line = await port.line()
    line.send(port.head("there", 8 << 20) + bytes(8 << 20))
    async with asyncio.timeout(PATIENCE):
        while line.writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.01)
    assert (await line.answer())[0] == 409
    (port.at / "there").unlink()


async def test_whoever_leaves_in_the_middle_leaves_nothing(port):
    line = await port.line()
    line.send(port.head("half", 1_000_000) + bytes(300_000))
    async with asyncio.timeout(PATIENCE):
        while not left(port.at):
            await asyncio.sleep(0.01)
        line.close()
        while left(port.at):
            await asyncio.sleep(0.01)
    assert not (port.at / "half").exists()
    await port.empty_rooms()


async def test_whoever_sends_nothing_is_not_waited_for(tmp_path, inner):
    async with FilesPort(tmp_path, inner, stall_timeout=0.3) as port:

        async def stalls():
            yield b"some"
            await asyncio.sleep(2)
            yield b"more"

        assert await port.put("stalled", stalls()) == 408
        assert left(port.at) == []


async def test_what_is_too_large_is_refused(tmp_path, inner):
    """As it says, and as it comes."""
    async with FilesPort(tmp_path, inner, upload=1 << 20) as port:

        async def chunks():
            for _ in range(17):
                yield bytes(1 << 16)

        assert await port.put("big", bytes((1 << 20) + 1)) == 413
        assert port.gateway.seats == []
        assert await port.put("big", chunks()) == 413
        assert not (port.at / "big").exists()
        assert left(port.at) == []


async def test_a_home_that_is_full_says_so(tmp_path):
    """And keeps nothing of it."""
    inner = InnerSshd()
    inner.start("ForceCommand trap '' XFSZ; ulimit -f 64; exec /usr/lib/openssh/sftp-server\n")
    try:
        async with FilesPort(tmp_path, inner) as port:
            status, _, body = await port.ask("PUT", f"{FILES}/big", data=bytes(1 << 20))
            told = json.loads(body)
            assert (status, told["code"]) == (507, "full")
            assert "its home may be full" in told["detail"]
            assert not (port.at / "big").exists()
            assert left(port.at) == []
    finally:
        inner.stop()


async def test_a_file_that_becomes_shorter_is_not_taken_for_all_of_it(port, monkeypatch):
    file = made(port.at, "shrinks", bytes(8 << 20))
    monkeypatch.setattr(homes, "PIECE", 65536)
    async with aiohttp.ClientSession() as client:
        reply = await client.get(f"{port.url}{FILES}/shrinks", headers=port.headers())
        await reply.content.read(1000)
        os.truncate(file, 1 << 20)
        with pytest.raises(aiohttp.ClientError):
            await reply.read()
    file.unlink()


# --------------------------------------------------------------------------------- whoever may


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"headers": {"cookie": None}}, 401),
        ({"headers": {"cookie": "desk=wrong"}}, 401),
        ({"headers": {"cookie": f"desk-guest={GUEST}"}}, 401),
        ({"csrf": None}, 403),
        ({"csrf": "x" * 32}, 403),
        ({"csrf": csrf_of("other")}, 403),
        ({"headers": {"origin": None}}, 403),
        ({"headers": {"origin": "null"}}, 403),
        ({"headers": {"origin": "http://elsewhere"}}, 403),
    ],
)
async def test_nothing_is_put_by_whoever_may_not(port, how, status):
    if how.get("headers", {}).get("cookie", SECRET) is None:
        how = {**how, "csrf": csrf_of("")}
    elif "wrong" in str(how):
        how = {**how, "csrf": csrf_of("wrong")}
    elif GUEST in str(how):
        how = {**how, "csrf": csrf_of("")}
    assert await port.put("no", b"x", **how) == status
    assert not (port.at / "no").exists()


async def test_another_s_desktop_looks_like_none(port):
    status, _, body = await port.ask("GET", "/files/ffffffffffffffff?path=")
    assert (status, json.loads(body)["code"]) == (404, "not_found")


async def test_without_the_right_there_are_no_files(port):
    made(port.at, "a.txt")
    port.gateway.rights = tuple(set(Right) - {Right.FILES})
    assert (await port.get("a.txt"))[0] == 403
    assert await port.put("b.txt", b"x") == 403
    assert (await port.ask("GET", FILES))[0] == 403


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "HEAD"])
async def test_files_are_read_and_put_and_nothing_else(port, method):
    assert (await port.ask(method, f"{FILES}/a"))[0] == 405


async def test_a_folder_is_not_put(port):
    assert (await port.ask("PUT", FILES, data=b"x"))[0] == 405


async def test_a_transfer_is_activity_and_ends_with_what_let_it_in(port):
    """In the middle of it: nothing more comes, not even another answer."""
    file = made(port.at, "long", bytes(64 << 20))
    line = await port.line()
    host = f"127.0.0.1:{port.address[1]}"
    line.send(
        f"GET {FILES}/long HTTP/1.1\r\nHost: {host}\r\nCookie: desk={SECRET}\r\n\r\n".encode()
    )
    assert (await line.head())[0] == 200
    async with asyncio.timeout(PATIENCE):
        while not any("files" in one.ages for told in port.gateway.reports for one in told):
            port.attendance.report_now()
            await asyncio.sleep(0.05)
    assert port.gateway.reports[-1][0].kinds == ("browser",)
    assert {one.credential for one in port.rooms.identities()} == {ADA.credential}
    assert port.rooms.sessions() == {SESSION}
    port.rooms.end_credential(ADA.credential, "Signed out.")
    assert b"HTTP" not in await line.rest()
    await port.empty_rooms()
    file.unlink()


async def test_a_door_that_drains_brings_it_to_its_end(port):
    file = made(port.at, "long", bytes(32 << 20))
    async with aiohttp.ClientSession() as client:
        reply = await client.get(f"{port.url}{FILES}/long", headers=port.headers())
        await reply.content.read(1000)
        port.rooms.drain()
        assert len(await reply.read()) == (32 << 20) - 1000
    file.unlink()
