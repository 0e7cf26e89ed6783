"""One connection of the broker's own to one desktop, kept for as long as it is wanted."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import structlog

from broker.core.errors import DeskError
from broker.service import commands, screensaver
from broker.service.dial import dial
from broker.system.sshclient import BROKEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from broker.core.gateway import Endpoint
    from broker.core.interfaces import Clock
    from broker.core.model import Session
    from broker.service.commands import Desk
    from broker.service.files import Access
    from broker.service.inside import Notice, Question
    from broker.system.tasks import Tasks

log = structlog.get_logger()

T = TypeVar("T")

#: Gives the desktop a size.
RESIZE = "/usr/local/bin/docker-desktop -s {width}x{height}"

#: Shows a notice: standard input is the notice as JSON.
NOTIFY = "/usr/local/lib/desk/notify"

#: The X server's own cookie: in the other file sshd writes those of forwarded displays too.
AUTHORITY = "/run/desk/server.auth"
_MOST_AUTHORITY = 4096

#: Seconds that one dial takes at most, that asking for the socket does, and that a goodbye does.
_DIAL_WITHIN, _LISTEN_WITHIN, _GOODBYE = 5.0, 5.0, 1.0

#: Seconds before the first dial: whoever started or woke the desktop has its processor first.
MANNERS = 0.5

#: Seconds between two dials: doubled after each, and back to the first after a connection that
#: lived for as long as the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0

#: Seconds that a caller waits for an answer of the desktop.
AGE_WITHIN, TELL_WITHIN, RESIZE_WITHIN = 3.0, 5.0, 8.0

#: Seconds after which a question without an answer costs the connection: to take a question back,
#: SSH has no word.
_PATIENCE = 30.0

#: Notices, and other sizes, that are under way at once.
_MOST_NOTICES, _MOST_SIZES = 4, 2

#: Channels of the desktop that are heard at once, more than are answered, so that the next ones are
#: told why; and those that it may have open before it is cut off.
_HEARD, _MOST_CHANNELS = 16, 64

#: Bytes that it may send ahead on one of them.
_WINDOW = 8 * 1024


class Link:
    """Dials, asks, tells and answers. `run` is its life; cancel that to end it."""

    def __init__(
        self,
        session: Session,
        *,
        reach: Callable[[Session], tuple[Sequence[Endpoint], Access]],
        desk: Desk,
        clock: Clock,
        tasks: Tasks,
        dials: asyncio.Semaphore,
    ) -> None:
        self._session = session
        self._reach = reach
        self._desk = desk
        self._clock = clock
        self._tasks = tasks
        self._dials = dials
        self._connection: asyncssh.SSHClientConnection | None = None
        self._dialled = asyncio.Event()
        """Set while no dial is under way or about to begin."""
        self._cookie: bytes | None = None
        self._probe: asyncio.Task[float | None] | None = None
        self._notices = 0
        self._sizes = 0
        self._channels = 0
        self._task = tasks.start(self._run(), name=f"service connection {session.id}")

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self._task.done()

    async def end(self) -> None:
        """Say goodbye, and dial no more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    # ------------------------------------------------------------------------------ connection

    async def _run(self) -> None:
        pause, told = _FIRST_PAUSE, False
        await self._clock.sleep(MANNERS)
        while True:
            began = self._clock.monotonic()
            connection = await self._connect()
            if connection is not None:
                told = False
                await self._use(connection)
            elif not told:
                told = True
                log.warning("a desktop does not let the broker in", session=self._session.id)
            if self._clock.monotonic() - began >= _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self) -> asyncssh.SSHClientConnection | None:
        self._dialled.clear()
        try:
            async with self._dials:
                endpoints, access = self._reach(self._session)
                for endpoint in endpoints:
                    with suppress(*BROKEN):
                        async with asyncio.timeout(_DIAL_WITHIN):
                            self._connection = await dial(endpoint, access)
                        break
        except DeskError as error:
            log.debug("a desktop cannot be dialled", session=self._session.id, reason=str(error))
        finally:
            self._dialled.set()
        return self._connection

    async def _use(self, connection: asyncssh.SSHClientConnection) -> None:
        """Answer the desktop for as long as the connection lasts."""
        log.debug("service connection made", session=self._session.id)
        self._cookie = None
        try:
            async with asyncio.timeout(_LISTEN_WITHIN):
                await self._listen(connection)
            await connection.wait_closed()
        except BROKEN as error:
            log.debug("a desktop went silent", session=self._session.id, reason=str(error))
        finally:
            self._connection = None
            connection.close()
            with suppress(*BROKEN):
                async with asyncio.timeout(_GOODBYE):
                    await connection.wait_closed()
            log.debug("service connection lost", session=self._session.id)

    async def _listen(self, connection: asyncssh.SSHClientConnection) -> None:
        """Have the desktop's sshd listen for the `desk` command. Where it cannot, because a tenant
        put something in the way, the rest works all the same.
        """
        calls = _Calls(connection, self._desk, self._tasks)
        with suppress(asyncssh.ChannelListenError):
            await connection.start_unix_server(lambda: calls.take, commands.SOCKET, window=_WINDOW)

    async def _connected(self) -> asyncssh.SSHClientConnection | None:
        await self._dialled.wait()
        return self._connection

    # ------------------------------------------------------------------------------- questions

    async def input_age(self) -> float | None:
        """As `Inside.input_age`."""
        if self._probe is None or self._probe.done():
            self._probe = self._tasks.start(
                self._asked(self._input_age), name=f"idle probe {self._session.id}"
            )
        return await _outcome(self._probe, AGE_WITHIN)

    async def _input_age(self, connection: asyncssh.SSHClientConnection) -> float:
        display = self._session.display
        if display is None:
            raise ValueError("the session has no display")
        if self._cookie is None:
            self._cookie = screensaver.display_cookie(await _authority(connection), display)
        reader, writer = await connection.open_unix_connection(
            screensaver.SOCKET.format(display=display)
        )
        try:
            return await screensaver.input_age(reader, writer, self._cookie)
        except ValueError:
            self._cookie = None
            raise
        finally:
            await _close(writer)

    async def tell(self, notice: Notice) -> bool:
        """As `Inside.tell`."""
        return await self._show(asdict(notice))

    async def ask(self, question: Question) -> bool:
        """As `Inside.ask`."""
        # An image that knows no questions shows them as notices.
        return await self._show({**asdict(question), "extend": False})

    async def _show(self, notice: Mapping[str, object]) -> bool:
        if self._notices >= _MOST_NOTICES:
            return False
        self._notices += 1
        task = self._tasks.start(
            self._asked(lambda connection: _notify(connection, notice)),
            name=f"notice {self._session.id}",
        )
        task.add_done_callback(self._told)
        return bool(await _outcome(task, TELL_WITHIN))

    def _told(self, _: asyncio.Task[Any]) -> None:
        self._notices -= 1

    async def resize(self, width: int, height: int) -> bool:
        """As `Inside.resize`."""
        if self._sizes >= _MOST_SIZES:
            return False
        self._sizes += 1
        command = RESIZE.format(width=width, height=height)
        task = self._tasks.start(
            self._asked(lambda connection: _run(connection, command)),
            name=f"size {self._session.id}",
        )
        task.add_done_callback(self._resized)
        return bool(await _outcome(task, RESIZE_WITHIN))

    def _resized(self, _: asyncio.Task[Any]) -> None:
        self._sizes -= 1

    async def _asked(
        self, question: Callable[[asyncssh.SSHClientConnection], Awaitable[T]]
    ) -> T | None:
        """The answer, or None where there is none; goes on when its caller has given up."""
        connection = await self._connected()
        if connection is None:
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                return await question(connection)
        except TimeoutError:
            connection.abort()
        except BROKEN as error:
            log.debug("no answer of a desktop", session=self._session.id, reason=str(error))
        return None


class _Calls:
    """The channels that a desktop opens to the broker."""

    def __init__(self, connection: asyncssh.SSHClientConnection, desk: Desk, tasks: Tasks) -> None:
        self._connection = connection
        self._desk = desk
        self._tasks = tasks
        self._open = 0

    def take(self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        """One more; one too many ends the connection."""
        self._open += 1
        if self._open > _MOST_CHANNELS:
            self._connection.abort()
        else:
            self._tasks.start(
                self._hear(reader, writer, heard=self._open <= _HEARD), name="desk command"
            )

    async def _hear(
        self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes], *, heard: bool
    ) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                if heard:
                    await self._desk.hear(reader, writer)
                await _close(writer)
        except BROKEN:
            self._connection.abort()
        finally:
            self._open -= 1


async def _authority(connection: asyncssh.SSHClientConnection) -> bytes:
    """By sftp, which no file of the tenant's shell stands in the way of."""
    async with connection.start_sftp_client() as sftp, sftp.open(AUTHORITY, "rb") as file:
        return await file.read(_MOST_AUTHORITY)


async def _notify(connection: asyncssh.SSHClientConnection, notice: Mapping[str, object]) -> bool:
    return await _run(connection, NOTIFY, json.dumps(notice).encode())


async def _run(
    connection: asyncssh.SSHClientConnection, command: str, said: bytes | None = None
) -> bool:
    """Whether it says that it was done. What it prints is the tenant's, and is not read."""
    done = await connection.run(
        command,
        input=said,
        stdin=asyncssh.DEVNULL if said is None else asyncssh.PIPE,
        stdout=asyncssh.DEVNULL,
        stderr=asyncssh.DEVNULL,
        encoding=None,
    )
    return done.exit_status == 0


async def _close(writer: asyncssh.SSHWriter[bytes]) -> None:
    writer.close()
    await writer.wait_closed()


async def _outcome(task: asyncio.Task[T | None], within: float) -> T | None:
    """What it came to, if it does within so many seconds; it goes on when it does not."""
    await asyncio.wait({task}, timeout=within)
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
