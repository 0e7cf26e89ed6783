"""What an image that stands alone serves on port 80: its sign-in and its relay, in this process."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LIBRARY = Path(__file__).parents[2] / "docker" / "rootfs" / "usr" / "local" / "lib" / "desk"
MODULES = ("relay", "passwords", "tries")
WORD = "correct horse"
COPIED = "数据 – ü"


@dataclass
class Modules:
    relay: ModuleType
    passwords: ModuleType
    tries: ModuleType


@pytest.fixture(scope="module")
def modules() -> Iterator[Modules]:
    """The image's own modules, which lie beside each other and not in a package."""
    sys.path.insert(0, str(LIBRARY))
    try:
        yield Modules(*(importlib.import_module(name) for name in MODULES))
    finally:
        sys.path.remove(str(LIBRARY))
        for name in MODULES:
            sys.modules.pop(name, None)


@dataclass
class Server:
    """The pages of an image, a desktop that says what is said to it, and a person's browser."""

    port: int
    shadow: Path
    client: aiohttp.ClientSession
    pauses: list[float]
    set_password: Any
    vnc: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def sign_in(self, word: str, **headers: str) -> aiohttp.ClientResponse:
        return await self.client.post(
            f"{self.origin}/sign-in",
            json={"password": word},
            headers={"Origin": self.origin, **headers},
        )

    async def is_in(self) -> bool:
        async with self.client.get(f"{self.origin}/sign-in") as answer:
            return (await answer.json())["in"]

    async def screen(
        self, origin: str | None = None, what: str = "screen"
    ) -> aiohttp.ClientWebSocketResponse:
        return await self.client.ws_connect(
            f"{self.origin}/ws/{what}", headers={"Origin": origin or self.origin}
        )


@pytest.fixture
async def server(
    modules: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    shadow, pages, vnc = tmp_path / "shadow", tmp_path / "pages", tmp_path / "vnc.sock"

    def set_password(word: str) -> None:
        made = modules.passwords._crypt(word.encode(), b"$5$rounds=1000$salt")
        shadow.write_text(f"root:*:1::::::\ndesk:{made.decode()}:1::::::\n")

    set_password(WORD)
    (pages / "assets").mkdir(parents=True)
    (pages / "index.html").write_text("<!doctype html><title>Desk</title>")
    (pages / "assets" / "alone-ABCDEFGH.js").write_text("1;" * 2000)
    monkeypatch.setattr(modules.relay, "PAGES", str(pages))
    monkeypatch.setattr(modules.relay, "VNC_SOCKET", str(vnc))
    monkeypatch.setattr(modules.relay, "CLIPBOARD", ["/usr/bin/printf", COPIED])
    monkeypatch.setattr(modules.relay, "START_SECONDS", 0.0)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    desktop = await asyncio.start_unix_server(echo, vnc)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pauses: list[float] = []
    answering = threading.Thread(
        target=modules.passwords.answer, args=(theirs, "desk", pauses.append, str(shadow))
    )
    answering.start()
    runner = web.AppRunner(modules.relay.Alone(modules.relay.Passwords(ours)).application())
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    try:
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), auto_decompress=False
        ) as client:
            yield Server(listener.getsockname()[1], shadow, client, pauses, set_password, vnc)
    finally:
        await runner.cleanup()
        desktop.close()
        ours.close()
        answering.join()
        theirs.close()


async def test_the_right_password_opens_the_screen_and_a_wrong_one_does_not(server: Server) -> None:
    wrong = await server.sign_in("wrong")
    assert (wrong.status, await wrong.json()) == (401, {"detail": "That is not the password."})
    assert server.pauses == [1.0]
    # What crypt(3) would take for the end of it.
    assert (await server.sign_in(f"{WORD}\0more")).status == 401
    assert not await server.is_in()
    async with await server.screen() as refused:
        assert (await refused.receive()).type is aiohttp.WSMsgType.CLOSE
        assert refused.close_code == 4401
    assert (await server.sign_in(WORD)).status == 204
    assert await server.is_in()
    async with await server.screen() as screen:
        ready = (await screen.receive_json())["ready"]
        assert ready["clipboard"] == COPIED
        assert {"control", "resize"} <= set(ready["rights"])
        await screen.send_json({"go": True})
        assert await screen.receive_bytes() == b"RFB 003.008\n"
        await screen.send_bytes(b"hello")
        assert await screen.receive_bytes() == b"hello"


async def test_the_cookie_is_the_browsers_alone_and_of_this_port(server: Server) -> None:
    answer = await server.sign_in(WORD)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"desk-alone-{server.port}=")
    assert {"HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))


async def test_pages_of_others_are_refused(server: Server) -> None:
    port = server.port
    for origin in (f"http://127.0.0.1:{port}.evil", "http://evil", "null", f"http://127.0.0.1:{port + 1}"):  # fmt: skip
        assert (await server.sign_in(WORD, Origin=origin)).status == 403, origin
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await server.screen(origin)


async def test_who_is_wrong_five_times_waits(server: Server, modules: Modules) -> None:
    for _ in range(modules.tries.WRONG):
        assert (await server.sign_in("wrong")).status == 401
    blocked = await server.sign_in(WORD)
    assert blocked.status == 429
    assert 0 < int(blocked.headers["Retry-After"]) <= modules.tries.SECONDS + 1


def test_a_wait_ends_and_a_right_password_forgets(modules: Modules) -> None:
    tries = modules.tries.Tries()
    for now in range(5):
        assert tries.wait("a", float(now)) == 0
        tries.note("a", right=False, now=float(now))
    assert tries.wait("a", 5.0) == 59
    assert tries.wait("b", 5.0) == 0
    assert tries.wait("a", 64.0) == 0
    tries.note("a", right=False, now=64.0)
    assert tries.wait("a", 65.0) == 59, "after a wait there is one try, not five"
    tries.note("a", right=True, now=200.0)
    tries.note("a", right=False, now=201.0)
    assert tries.wait("a", 202.0) == 0


def test_addresses_are_forgotten_before_they_fill_the_memory(modules: Modules) -> None:
    tries = modules.tries.Tries()
    for number in range(modules.tries.ADDRESSES + 50):
        tries.note(str(number), right=False, now=0.0)
    assert len(tries._wrong) == modules.tries.ADDRESSES


async def test_signing_out_ends_the_screen(server: Server) -> None:
    await server.sign_in(WORD)
    async with await server.screen() as screen:
        await screen.receive_json()
        await screen.send_json({"go": True})
        await screen.receive_bytes()
        left = await server.client.post(
            f"{server.origin}/sign-out", headers={"Origin": server.origin}
        )
        assert left.status == 204
        assert (await screen.receive()).type is aiohttp.WSMsgType.CLOSE
        assert screen.close_code == 4401
    assert not await server.is_in()


async def test_another_password_ends_what_the_old_one_opened(server: Server) -> None:
    await server.sign_in(WORD)
    assert await server.is_in()
    server.set_password("another")
    assert not await server.is_in()
    assert (await server.sign_in(WORD)).status == 401
    assert (await server.sign_in("another")).status == 204


async def test_a_user_without_a_password_is_nobody(server: Server) -> None:
    server.shadow.write_text("desk:!:1::::::\n")
    for word in ("", "!", WORD, "a\0b", "x" * 5000):
        assert (await server.sign_in(word)).status in {401, 413}


async def test_a_page_that_says_something_else_is_cut_off(server: Server) -> None:
    await server.sign_in(WORD)
    for said in ('{"go": false}', "no json", '{"go": true}'):
        async with await server.screen() as screen:
            await screen.receive_json()
            await screen.send_str(said)
            if said == '{"go": true}':
                await screen.receive_bytes()
                await screen.send_str("more")
            while not screen.closed:
                await screen.receive()
            assert screen.close_code == 4400


async def test_a_desktop_without_a_screen_is_told(server: Server) -> None:
    await server.sign_in(WORD)
    server.vnc.unlink()
    async with await server.screen() as screen:
        while not screen.closed:
            await screen.receive()
        assert screen.close_code == 1011


async def test_pages_are_kept_as_their_names_allow_and_carry_the_policy(server: Server) -> None:
    page = await server.client.get(f"{server.origin}/")
    assert page.headers["Cache-Control"] == "no-cache"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    script = await server.client.get(f"{server.origin}/assets/alone-ABCDEFGH.js")
    assert "immutable" in script.headers["Cache-Control"]
    assert script.headers["Content-Encoding"] == "gzip"
    assert len(await script.read()) < 200
    for path in ("/../shadow", "/%2e%2e/shadow", "/assets/", "/nothing"):
        assert (await server.client.get(server.origin + path)).status == 404


async def test_what_the_desktop_plays_is_heard_as_long_as_somebody_listens(
    server: Server, modules: Modules, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await server.sign_in(WORD)
    monkeypatch.setattr(modules.relay, "LISTEN", ["/nowhere/parec"])
    async with await server.screen(what="sound") as silent:
        await silent.receive()
        assert silent.close_code == 4404
    async with await server.screen() as screen:
        assert "sound" not in (await screen.receive_json())["ready"]["rights"]
    told = tmp_path / "pid"
    program = f"echo $$ > {told}; printf wave; exec sleep 60"
    monkeypatch.setattr(modules.relay, "LISTEN", ["/bin/sh", "-c", program])
    async with await server.screen() as screen:
        assert "sound" in (await screen.receive_json())["ready"]["rights"]
    async with await server.screen(what="sound") as sound:
        assert await sound.receive_bytes() == b"wave"
    listening = Path(f"/proc/{told.read_text().strip()}")
    async with asyncio.timeout(10):
        while listening.exists():
            await asyncio.sleep(0.01)
