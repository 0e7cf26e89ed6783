"""Inner connections: found through the gateway, dialled, and one kept in advance per session."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh
import structlog
from asyncssh.connection import SSHClientConnectionOptions

from broker.core.errors import StartFailed
from broker.door.feed import Feed
from broker.door.inner import InnerWire
from broker.door.text import shown
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from broker.core.gateway import Endpoint, Gateway, Identity, Route
    from broker.door.lane import Common

log = structlog.get_logger()

#: Towards the sshd of a desktop.
CIPHERS = ["aes128-gcm@openssh.com"]
KEX = ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"]
_PROBLEM = 200
"""Characters of what an sshd said that a log line shows."""
_UNREACHABLE = (
    "Your desktop does not answer. Try again; if it fails again, tell your administrator."
)


class Unreachable(Exception):
    """No endpoint of the session led to its sshd."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An inner connection and where it leads."""

    route: Route
    wire: InnerWire


@dataclass(slots=True)
class _Session:
    """What a door keeps of one session: how to dial it, and a connection in advance."""

    route: Route
    options: SSHClientConnectionOptions
    endpoint: Endpoint | None = None
    """The one that worked last."""
    clients: int = 0
    spare: asyncio.Task[InnerWire | Unreachable] | None = None
    spare_timer: asyncio.TimerHandle | None = None
    """Makes the next spare."""
    idle_timer: asyncio.TimerHandle | None = None
    """Forgets a session that nobody is in."""


class Binder:
    """Gives client connections their inner ones."""

    def __init__(self, gateway: Gateway, common: Common) -> None:
        self._gateway = gateway
        self._common = common
        self._limits = common.limits
        self._tasks = Tasks()
        self._sessions: dict[str, _Session] = {}

    @property
    def sessions(self) -> Collection[str]:
        """Those that something is kept of."""
        return self._sessions.keys()

    async def take(
        self,
        identity: Identity,
        *,
        display: int | None,
        progress: Callable[[str], None],
        routed: Callable[[str | None], None],
    ) -> Bound:
        """An inner connection to the desktop; `routed` hears which session is being dialled, and
        None when it is no longer. Raises `DeskError`. When the caller is cancelled, the connection
        that was being made for it becomes the session's spare.

        The first try is a short one: a desktop that froze since its route was known would let it
        wait, and asking for the route again thaws it.
        """
        unreachable = Unreachable("not tried")
        for within in (self._limits.first_dial, self._limits.handshake_timeout):
            route = await self._gateway.route(identity, display=display, progress=progress)
            routed(route.session_id)
            try:
                return Bound(route, await self._connection(route, within))
            except Unreachable as problem:
                log.warning("desktop unreachable", session=route.session_id, problem=str(problem))
                unreachable = problem
            routed(None)
            await self.lost(route.session_id)
        raise StartFailed(str(unreachable), public=_UNREACHABLE) from unreachable

    async def same_session(self, identity: Identity, session_id: str, display: int) -> bool:
        """Whether the display is that session's. Raises `DeskError`."""
        route = await self._gateway.route(identity, display=display, progress=_quiet)
        return route.session_id == session_id

    async def lost(self, session_id: str) -> None:
        """The session could not be reached, or its connection broke."""
        self.forget(session_id)
        await self._gateway.lost(session_id)

    def forget(self, session_id: str) -> None:
        """Drop what is kept of a session that freezes, stops or is no longer its users'."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._forget(session)

    def entered(self, session_id: str) -> None:
        """A client is in the session."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.clients += 1

    def left(self, session_id: str) -> None:
        """It left; the last one's spare stays for a while."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        session.clients = max(0, session.clients - 1)
        self._expire_later(session)

    async def close(self) -> None:
        """End all spares."""
        for session in self._sessions.values():
            self._forget(session)
        self._sessions.clear()
        await self._tasks.close()

    # ------------------------------------------------------------------------------- connections

    async def _connection(self, route: Route, within: float) -> InnerWire:
        session = await self._session(route)
        spare, session.spare = session.spare, None
        wire = None
        if spare is not None:
            wire = await self._made(session, spare, patience=self._limits.spare_patience)
        if not isinstance(wire, InnerWire) or not wire.alive:
            wire = await self._made(session, self._start_dial(session, within))
        if isinstance(wire, Unreachable):
            raise wire
        if not wire.alive:
            raise Unreachable("the connection closed at once")
        session.spare_timer = self._after(
            session.spare_timer, self._limits.spare_delay, self._make_spare, session
        )
        return wire

    def _start_dial(
        self, session: _Session, within: float
    ) -> asyncio.Task[InnerWire | Unreachable]:
        return self._tasks.start(self._dial(session, within), name="dial")

    async def _made(
        self,
        session: _Session,
        dial: asyncio.Task[InnerWire | Unreachable],
        *,
        patience: float | None = None,
    ) -> InnerWire | Unreachable:
        """What the dial gives, or one begun after `patience` when that is sooner. What nobody waits
        for any more, as when the caller is cancelled, the session keeps as a spare.
        """
        dials = {dial}
        try:
            if patience is not None and not (await asyncio.wait(dials, timeout=patience))[0]:
                dials.add(self._start_dial(session, self._limits.first_dial))
            while True:
                done, _ = await asyncio.wait(dials, return_when=asyncio.FIRST_COMPLETED)
                first = done.pop()
                dials.remove(first)
                made = first.result()
                if not dials or (isinstance(made, InnerWire) and made.alive):
                    return made
        finally:
            for left in dials:
                self._keep(session, left)

    async def _session(self, route: Route) -> _Session:
        """The key is read once per session: that costs more than a dial."""
        session = self._sessions.get(route.session_id)
        if session is not None and session.route.client_key != route.client_key:
            self.forget(route.session_id)
            session = None
        if session is None:
            options = await self._options(route)
            session = self._sessions.setdefault(route.session_id, _Session(route, options))
        session.route = route
        return session

    async def _options(self, route: Route) -> SSHClientConnectionOptions:
        limits = self._limits
        host_key = asyncssh.import_public_key(route.host_key)
        options: SSHClientConnectionOptions = await SSHClientConnectionOptions.construct(
            config=None,
            host="desktop",
            username=route.user,
            known_hosts=([host_key], [], []),
            server_host_key_algs=["ssh-ed25519"],
            client_keys=[asyncssh.import_private_key(route.client_key)],
            agent_path=None,
            preferred_auth="publickey",
            kex_algs=KEX,
            encryption_algs=CIPHERS,
            compression_algs=None,
            rekey_bytes=limits.inner_rekey,
            rekey_seconds=0,
            keepalive_interval=limits.inner_keepalive,
            login_timeout=limits.handshake_timeout,
        )
        return options

    async def _dial(self, session: _Session, within: float) -> InnerWire | Unreachable:
        """Reach it within so many seconds."""
        try:
            async with asyncio.timeout(within):
                return await self._dial_each(session)
        except TimeoutError:
            return Unreachable(f"no answer within {within} s")

    async def _dial_each(self, session: _Session) -> InnerWire | Unreachable:
        """Try the endpoint that worked last, then the others in order."""
        endpoints = list(session.route.endpoints)
        if session.endpoint in endpoints:
            endpoints.remove(session.endpoint)
            endpoints.insert(0, session.endpoint)
        problem = "the session has no endpoint"
        for endpoint in endpoints:
            try:
                wire = await self._dial_one(session, endpoint)
            except (OSError, asyncssh.Error, ValueError) as error:
                # A ValueError is what asyncssh makes of nonsense.
                text = shown(str(error) or type(error).__name__, _PROBLEM)
                problem = f"{endpoint.host}:{endpoint.port}: {text}"
                continue
            session.endpoint = endpoint
            return wire
        return Unreachable(problem)

    async def _dial_one(self, session: _Session, endpoint: Endpoint) -> InnerWire:
        loop = asyncio.get_running_loop()
        options = copy.copy(session.options)
        options.waiter = loop.create_future()
        options.waiter.add_done_callback(_seen)
        async with asyncio.timeout(self._limits.connect_timeout):
            _, feed = await loop.create_connection(
                lambda: Feed(InnerWire(loop, options, wait="auth", common=self._common)),
                endpoint.host,
                endpoint.port,
            )
        wire = feed.wire
        try:
            await options.waiter
        except asyncio.CancelledError:
            wire.drop()
            raise
        return wire

    # ------------------------------------------------------------------------------------ spares

    def _make_spare(self, session: _Session) -> None:
        if session.spare is None and self._is_current(session):
            session.spare = self._start_dial(session, self._limits.first_dial)

    def _keep(self, session: _Session, dial: asyncio.Task[InnerWire | Unreachable]) -> None:
        """A connection that nobody waits for becomes the spare, unless there is one."""
        if session.spare is None and self._is_current(session):
            session.spare = dial
        else:
            _discard(dial)
        self._expire_later(session)

    def _expire_later(self, session: _Session) -> None:
        if session.clients == 0:
            delay = self._limits.spare_idle
            session.idle_timer = self._after(session.idle_timer, delay, self._expire, session)

    def _expire(self, session: _Session) -> None:
        """Nobody was in the session for a while."""
        if session.clients == 0 and self._is_current(session):
            del self._sessions[session.route.session_id]
            self._forget(session)

    def _is_current(self, session: _Session) -> bool:
        return self._sessions.get(session.route.session_id) is session

    def _after(
        self,
        timer: asyncio.TimerHandle | None,
        delay: float,
        action: Callable[[_Session], None],
        session: _Session,
    ) -> asyncio.TimerHandle:
        if timer is not None:
            timer.cancel()
        return asyncio.get_running_loop().call_later(delay, action, session)

    def _forget(self, session: _Session) -> None:
        for timer in (session.spare_timer, session.idle_timer):
            if timer is not None:
                timer.cancel()
        spare, session.spare = session.spare, None
        if spare is not None:
            _discard(spare)


def _seen(waiter: asyncio.Future[None]) -> None:
    """A dial that was given up meanwhile leaves nobody who would ask for its error."""
    if not waiter.cancelled():
        waiter.exception()


def _discard(dial: asyncio.Task[InnerWire | Unreachable]) -> None:
    """Nobody wants what it makes or has made."""
    dial.cancel()
    dial.add_done_callback(_drop_when_done)


def _drop_when_done(dial: asyncio.Task[InnerWire | Unreachable]) -> None:
    if not dial.cancelled() and isinstance(wire := dial.result(), InnerWire):
        wire.say_goodbye("not needed")


def _quiet(sentence: str) -> None:
    """Nobody is told."""
    del sentence
