"""The HTTP listener: who is let in, TLS, and how long a connection may take.

aiohttp's server bounds lines, headers, what is pipelined, and the time to a request's headers. What
it lacks is here: how many there are, a handshake's time, and an end for whoever takes no answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from broker.door.answers import problem, secure
from broker.door.clients import source_of
from broker.door.crowd import Crowd
from broker.door.listener import Listener
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from broker.door.clients import Clients
    from broker.door.websettings import WebSettings

log = structlog.get_logger()

_BACKLOG = 256

#: Header fields of a request.
_FIELDS = 64

#: Seconds for TLS to say goodbye.
_GOODBYE = 2.0

#: Whoever connects from an address of this host's to the same one.
_HERE = "127.0.0.1"

#: Seconds between two lines of the log on who was turned away.
_QUIET = 60.0


class Visitor(RequestHandler):
    """One connection."""

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        address: str,
        stall: float,
        answers: int,
        leave: Callable[[], bool],
        gone: Callable[[], None],
        **options: Any,
    ) -> None:
        """It ends behind so many `answers`, or the next one if it is to `leave`. `gone` is called
        when it is over, if it has begun.
        """
        super().__init__(manager, loop=loop, **options)
        self.address = address
        """The peer's."""
        self._here = loop
        self._stall = stall
        self._gone = gone
        self._answers = answers
        self._leave = leave
        self._wire: asyncio.Transport | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def is_last(self) -> bool:
        """Whether the answer that begins now is the last one."""
        self._answers -= 1
        return self._answers <= 0 or self._leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)  # uvloop's for TLS says nothing of it
        # Nothing may wait for long: not even for a connection that is about to close.
        self._wire.set_write_buffer_limits(high=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._moves()
        super().connection_lost(exc)
        self._gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._here.call_later(self._stall, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._moves()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """As problems are told everywhere, and without a line of the log for what a stranger does."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer has begun")
        if status < 500:
            answer = problem(status, "bad_request", "This is no HTTP that can be understood.")
        else:
            log.error("request failed", problem=message, exc_info=exc)
            answer = problem(status, "internal", "The front door met an unexpected problem.")
        secure(answer.headers)
        answer.force_close()
        return answer

    def _moves(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _cut(self) -> None:
        if self._wire is not None:
            self._wire.abort()


class Visitors:
    """Accepts, and serves an application to whoever comes."""

    def __init__(
        self,
        app: web.Application,
        clients: Clients,
        settings: WebSettings,
        *,
        tls: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """`tls` is asked at each connect."""
        self._runner = web.AppRunner(app, access_log=None)
        self._clients = clients
        self._settings = settings
        self._tls = tls
        self._crowd: Crowd
        self._server: web.Server
        self._listener: Listener | None = None
        self._tasks = Tasks()
        self._closing = False
        self._turned_away = 0
        self._told = float("-inf")

    async def prepare(self) -> None:
        """Be ready to accept."""
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = web.Server(
            self._runner.server.request_handler,
            request_factory=self._runner.server.request_factory,
            # Whoever left waits for nothing, and what was asked for them is given up.
            handler_cancellation=True,
        )
        self._crowd = Crowd(self._settings, _now())

    def open(self, sock: socket.socket) -> None:
        """Accept from now on, at a bound socket. Raises `OSError` when it cannot listen."""
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self._listener = Listener(sock, self._knock)
        self._listener.start()

    def accept_no_more(self) -> None:
        """Leave who comes from now on to others: who is here gets one more answer at the most."""
        self._closing = True
        if self._listener is not None:
            self._listener.close()

    async def close(self, grace: float) -> None:
        """End all, after `grace` seconds by force."""
        self.accept_no_more()
        await self._tasks.close()
        await self._server.shutdown(grace)
        await self._runner.cleanup()

    # ---------------------------------------------------------------------------- at the door

    def _knock(self, sock: socket.socket, address: str) -> None:
        is_proxy = self._clients.is_proxy(address)
        if not is_proxy and address == sock.getsockname()[0]:
            address = _HERE  # nothing of it leaves this host
        source = source_of(address)
        pause = None
        if self._clients.may_come(address):
            pause = self._crowd.enter(source, _now(), is_proxy=is_proxy)
        if pause is None:
            sock.close()
            self._turn_away(address)
            return
        self._tasks.start(self._receive(sock, address, pause), name="visitor")

    async def _receive(self, sock: socket.socket, address: str, pause: float) -> None:
        loop, settings = asyncio.get_running_loop(), self._settings
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._crowd.leave(source_of(address))

        def visitor() -> Visitor:
            return Visitor(
                self._server,
                loop=loop,
                address=address,
                stall=settings.stall_timeout,
                answers=settings.requests_per_connection,
                leave=lambda: self._closing,
                gone=leave,
                access_log=None,
                keepalive_timeout=settings.header_timeout,
                max_line_size=settings.header,
                max_field_size=settings.header,
                max_headers=_FIELDS,
                lingering_time=0,
                auto_decompress=False,
            )

        try:
            await asyncio.sleep(pause)
            context = self._tls()
            times = (settings.handshake_timeout, _GOODBYE) if context is not None else (None, None)
            await loop.connect_accepted_socket(
                visitor,
                sock,
                ssl=context,
                ssl_handshake_timeout=times[0],
                ssl_shutdown_timeout=times[1],
            )
        except OSError:  # it left, or speaks no TLS
            sock.close()
            leave()
        except BaseException:
            sock.close()
            leave()
            raise

    def _turn_away(self, address: str) -> None:
        self._turned_away += 1
        now = _now()
        if now - self._told >= _QUIET:
            self._told = now
            log.warning("turned away from HTTP", connections=self._turned_away, latest=address)
            self._turned_away = 0


def _now() -> float:
    return asyncio.get_running_loop().time()
