"""Sign-in, pages and the screen over HTTP, for one user and one desktop."""

import asyncio
import gzip
import json
import mimetypes
import os
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import passwords
from aiohttp import WSMessage, WSMsgType, web
from aiohttp.typedefs import Handler
from tries import Tries

PAGES = "/usr/local/share/desk/pages"
VNC_SOCKET = "/run/desk/vnc.sock"
CLIPBOARD = ["/usr/bin/timeout", "2", "/usr/bin/xclip", "-o", "-selection", "clipboard", "-t", "UTF8_STRING"]  # fmt: skip
CLIPBOARD_BYTES = 1 << 20
RIGHTS = ["control", "resize", "clipboard_in", "clipboard_out"]
# In an image with sound alone.
LISTEN = ["/usr/bin/parec", "--device=@DEFAULT_MONITOR@", "--format=s16le", "--rate=48000", "--channels=2", "--latency-msec=20"]  # fmt: skip

CHUNK = 64 * 1024
MESSAGE_BYTES = 4 << 20
BODY_BYTES = 4096
VIEWERS = 16
SIGNED_IN = 64
SIGNED_IN_SECONDS = 12 * 3600.0
ASKING = 8
START_SECONDS = 30.0
HEARTBEAT = 30.0

HEADERS = {
    "Server": "Desk",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; media-src 'self' blob:;"
    " worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_PAGES = (
    "This image was built without its pages: build them with 'make web', then the image again.\n"
)


class Refused(Exception):
    """An answer of another kind, with one sentence."""

    def __init__(self, status: int, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after

    def answer(self) -> web.Response:
        """As the pages know refusals."""
        response = web.json_response({"detail": str(self)}, status=self.status)
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(int(self.retry_after) + 1)
        return response


class Passwords:
    """The way to the process that knows the password: one question at a time, few in the queue."""

    def __init__(self, asked: socket.socket) -> None:
        self._socket = asked
        self._turn = threading.Lock()
        self._waiting = 0

    async def mark(self, word: str | None = None) -> bytes | None:
        """The mark of the password if `word` is right; without a word, the mark as it is now."""
        question = b"m" if word is None else b"w" + word.encode()
        if len(question) > passwords.LONGEST:
            return None
        if self._waiting >= ASKING:
            raise Refused(429, "Too many tries at a time.", 1.0)
        self._waiting += 1
        try:
            answer = await asyncio.to_thread(self._ask, question)
        finally:
            self._waiting -= 1
        return answer[1:] if answer[:1] == passwords.YES else None

    def _ask(self, question: bytes) -> bytes:
        """In a thread, which goes on where its caller does not: an answer is never another's."""
        with self._turn:
            self._socket.send(question)
            answer = self._socket.recv(256)
        if not answer:
            os._exit(1)  # The other process is gone: both are started anew.
        return answer


@dataclass
class SignIn:
    """Somebody who knew the password."""

    mark: bytes
    until: float
    viewers: set[web.WebSocketResponse] = field(default_factory=set)


class Alone:
    """What is where on the port."""

    def __init__(self, words: Passwords) -> None:
        self._passwords = words
        self._tries = Tries()
        self._signed_in: dict[str, SignIn] = {}
        self._files = _read_pages()

    def application(self) -> web.Application:
        """All of it."""
        app = web.Application(client_max_size=BODY_BYTES, middlewares=[_refusals])
        app.on_response_prepare.append(_harden)
        app.router.add_get("/healthz", _healthy)
        app.router.add_get("/sign-in", self._who)
        app.router.add_post("/sign-in", self._enter)
        app.router.add_post("/sign-out", self._leave)
        app.router.add_get("/ws/screen", self._screen)
        app.router.add_get("/ws/sound", self._sound)
        app.router.add_get("/{path:.*}", self._page)
        return app

    async def _page(self, request: web.Request) -> web.Response:
        path = request.path
        if path == "/":
            path = "/index.html"
        if not self._files:
            return web.Response(status=404, text=NO_PAGES)
        if path not in self._files:
            raise Refused(404, "There is nothing at this address.")
        plain, packed, kind = self._files[path]
        for_ever = "public, max-age=31536000, immutable"
        headers = {
            "Content-Type": kind,
            "Cache-Control": for_ever if path.startswith("/assets/") else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=plain, headers=headers)

    async def _who(self, request: web.Request) -> web.Response:
        return web.json_response({"in": await self._of(request) is not None})

    async def _enter(self, request: web.Request) -> web.Response:
        _demand_own_page(request)
        address, now = request.remote or "", time.monotonic()
        if wait := self._tries.wait(address, now):
            raise Refused(429, "Too many wrong tries.", wait)
        try:
            word = json.loads(await request.text())["password"]
        except (ValueError, KeyError, TypeError):
            word = None
        if not isinstance(word, str):
            raise Refused(400, "That was not understood.")
        # Before the answer: of many at a time, each counts.
        self._tries.note(address, right=False, now=now)
        mark = await self._passwords.mark(word)
        if mark is None:
            raise Refused(401, "That is not the password.")
        self._tries.note(address, right=True, now=now)
        secret = secrets.token_urlsafe(32)
        while len(self._signed_in) >= SIGNED_IN:
            await self._end(next(iter(self._signed_in)))
        self._signed_in[secret] = SignIn(mark, now + SIGNED_IN_SECONDS)
        response = web.Response(status=204)
        response.set_cookie(_cookie(request), secret, path="/", httponly=True, samesite="Strict")
        return response

    async def _leave(self, request: web.Request) -> web.Response:
        _demand_own_page(request)
        await self._end(request.cookies.get(_cookie(request), ""))
        response = web.Response(status=204)
        response.del_cookie(_cookie(request), path="/")
        return response

    async def _end(self, secret: str) -> None:
        found = self._signed_in.pop(secret, None)
        for viewer in list(found.viewers if found else ()):
            await viewer.close(code=4401, message=b"You signed out.")

    async def _of(self, request: web.Request) -> SignIn | None:
        """The sign-in that a request shows: for as long as the password is the one of then."""
        found = self._signed_in.get(request.cookies.get(_cookie(request), ""))
        if found is None or found.until < time.monotonic():
            return None
        return found if await self._passwords.mark() == found.mark else None

    async def _screen(self, request: web.Request) -> web.WebSocketResponse:
        return await self._serve(request, _relay)

    async def _sound(self, request: web.Request) -> web.WebSocketResponse:
        return await self._serve(request, _play)

    async def _serve(
        self, request: web.Request, way: Callable[[web.WebSocketResponse], Awaitable[None]]
    ) -> web.WebSocketResponse:
        _demand_own_page(request)
        viewer = web.WebSocketResponse(
            compress=False, max_msg_size=MESSAGE_BYTES, heartbeat=HEARTBEAT
        )
        await viewer.prepare(request)
        signed_in = await self._of(request)
        if signed_in is None:
            await viewer.close(code=4401, message=b"Sign in again.")
        elif sum(len(one.viewers) for one in self._signed_in.values()) >= VIEWERS:
            await viewer.close(code=4429, message=b"Too many pages look at this desktop.")
        else:
            signed_in.viewers.add(viewer)
            try:
                await way(viewer)
            finally:
                signed_in.viewers.discard(viewer)
        return viewer


async def _play(viewer: web.WebSocketResponse) -> None:
    """What the desktop plays; the program ends with its listener."""
    if not _has_sound():
        await viewer.close(code=4404, message=b"This desktop has no sound.")
        return
    program = await asyncio.create_subprocess_exec(
        *LISTEN,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert program.stdout
    try:
        async with asyncio.TaskGroup() as both:
            down = both.create_task(
                _down(program.stdout, viewer, b"The sound of the desktop went away.")
            )
            await viewer.receive()  # It has nothing to say: this is its end.
            down.cancel()
    except* OSError:
        pass
    finally:
        with suppress(ProcessLookupError):
            program.kill()
        await program.wait()


def _has_sound() -> bool:
    return os.path.exists(LISTEN[0])


async def _relay(viewer: web.WebSocketResponse) -> None:
    try:
        reader, writer = await _dial(viewer)
    except OSError:
        await viewer.close(code=1011, message=b"The desktop's screen is not there.")
        return
    try:
        rights = [*RIGHTS, "sound"] if _has_sound() else RIGHTS
        ready = {"desktop": "Desk", "rights": rights, "session": None, "share": False}
        await viewer.send_json({"ready": {**ready, "clipboard": await _copied()}})
        if not _is_go(await viewer.receive()):
            await viewer.close(code=4400, message=b"The page said something unforeseen.")
            return
        async with asyncio.TaskGroup() as both:
            down = both.create_task(_down(reader, viewer, b"The desktop's screen went away."))
            await _up(viewer, writer)
            down.cancel()
    except* OSError:
        await viewer.close(code=1012, message=b"The line to the desktop broke.")
    finally:
        writer.close()


def _is_go(said: WSMessage) -> bool:
    with suppress(ValueError):
        return said.type is WSMsgType.TEXT and json.loads(said.data) == {"go": True}
    return False


async def _dial(
    viewer: web.WebSocketResponse,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The X server's socket; while the desktop starts there is none yet."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await asyncio.open_unix_connection(VNC_SOCKET, limit=CHUNK)
        except OSError:
            if time.monotonic() > deadline:
                raise
        await viewer.send_json({"progress": "Starting your desktop …"})
        await asyncio.sleep(0.5)


async def _down(reader: asyncio.StreamReader, viewer: web.WebSocketResponse, end: bytes) -> None:
    """Each chunk waits until the one before is on its way: a slow browser slows what it comes from."""
    while data := await reader.read(CHUNK):
        await viewer.send_bytes(data)
    await viewer.close(code=1012, message=end)


async def _up(viewer: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in viewer:
        if message.type is not WSMsgType.BINARY:
            await viewer.close(code=4400, message=b"The page said something unforeseen.")
            return
        writer.write(message.data)
        await writer.drain()


async def _copied() -> str | None:
    """What was copied in the desktop before: the X server tells of what changes alone."""
    with suppress(OSError):
        program = await asyncio.create_subprocess_exec(
            *CLIPBOARD,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert program.stdout
        text = await program.stdout.read(CLIPBOARD_BYTES + 1)
        if len(text) > CLIPBOARD_BYTES:
            program.kill()
        if await program.wait() == 0 and text:
            return text.decode(errors="replace")
    return None


def _demand_own_page(request: web.Request) -> None:
    """A page of another site, which a browser sends here with our cookie, is refused."""
    origin = request.headers.get("Origin", "")
    if origin.partition("://")[2] != request.host or not origin.startswith(("http://", "https://")):
        raise Refused(403, "This address does not take requests of other pages.")


def _cookie(request: web.Request) -> str:
    """Cookies know no ports: two desktops of one host would share a name."""
    port = request.host.rpartition(":")[2]
    return f"desk-alone-{port if port.isdigit() else 0}"


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return refused.answer()


async def _harden(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


def _read_pages() -> dict[str, tuple[bytes, bytes, str]]:
    """By address: as it is, packed, and its kind."""
    files = {}
    for folder, _, names in os.walk(PAGES):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                data = file.read()
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            if kind.startswith("text/"):
                kind += "; charset=utf-8"
            files["/" + os.path.relpath(path, PAGES)] = (data, gzip.compress(data, mtime=0), kind)
    return files


def serve(listener: socket.socket, asked: socket.socket) -> None:
    """Until the process is told to end."""

    async def application() -> web.Application:
        return Alone(Passwords(asked)).application()

    web.run_app(application(), sock=listener, print=None, access_log=None, keepalive_timeout=30)
