"""The broker's side of the Gateway: what a front door may ask, answered."""

from __future__ import annotations

import ipaddress
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from broker.core.errors import (
    AccessDenied,
    BadRequest,
    Blocked,
    CapacityExhausted,
    NotFound,
    SourceUnavailable,
)
from broker.core.model import DEFAULT_DESKTOP, SessionId, SessionState, desktop_name, shown
from broker.core.shares import guest_id
from broker.service import sentences
from broker.service.authentication import ENROL_FIRST
from broker.service.identities import actor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from broker.core.gateway import (
        Activity,
        Attachment,
        CodeWanted,
        DoorControl,
        Holdings,
        HttpReply,
        Identity,
        KeyAnswer,
        Load,
        Login,
        OfferedKey,
        Penalty,
        Route,
        Seat,
        WordReply,
    )
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session, User
    from broker.service.accounts import Accounts
    from broker.service.authentication import Authentication
    from broker.service.connections import Connections
    from broker.service.guests import Guests
    from broker.service.health import Health
    from broker.service.host import Host
    from broker.service.presence import Presence
    from broker.service.reconciler import Reconciler
    from broker.service.seats import Seats
    from broker.service.sessions import Sessions
    from broker.service.standing import Standing
    from broker.service.words import Words
    from broker.telemetry import Metrics


#: What a door may say of a source: for how long, how wide a network, and a word for the log.
_LONGEST_PENALTY = 86400.0
_WIDEST = {4: 16, 6: 32}
_OFFENCE = re.compile(r"[a-z][a-z _-]{0,31}")


class LocalGateway:
    """Implements `core.gateway.GatewayService`: for doors in the broker's own process, and for
    whoever serves it to others.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        accounts: Accounts,
        authentication: Authentication,
        reconciler: Reconciler,
        seats: Seats,
        guests: Guests,
        presence: Presence,
        host: Host,
        words: Words,
        health: Health,
        connections: Connections,
        standing: Standing,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._accounts = accounts
        self._authentication = authentication
        self._reconciler = reconciler
        self._seats = seats
        self._guests = guests
        self._presence = presence
        self._host = host
        self._words = words
        self._health = health
        self._connections = connections
        self._standing = standing
        self._metrics = metrics

    async def identify(self, login: Login, key: OfferedKey, address: str) -> KeyAnswer:
        answer = await self._authentication.identify(login, key, address)
        if answer is None:
            self._failed("key" if login.invite is None else "invite")
        return answer

    async def check_password(
        self, login: Login, password: str, address: str
    ) -> Identity | CodeWanted | None:
        with self._refused():
            answer = await self._authentication.check_password(login, password, address)
        if answer is None:
            self._failed("password")
        return answer

    async def check_code(self, ticket: str, code: str, address: str) -> Identity | None:
        with self._refused():
            answer = await self._authentication.check_code(ticket, code, address)
        if answer is None:
            self._failed("code")
        return answer

    def _failed(self, reason: str) -> None:
        self._metrics.auth_failures.labels(reason).inc()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Count what nobody looked at, too."""
        try:
            yield
        except (Blocked, CapacityExhausted, SourceUnavailable) as error:
            self._failed(error.code)
            raise

    async def redeem(
        self, login: Login, key: OfferedKey, address: str
    ) -> Identity | CodeWanted | None:
        return await self._authentication.redeem(login, key, address)

    async def proven(self, identity: Identity) -> None:
        self._authentication.proven(identity)
        self._metrics.proven(identity.method)
        self._standing.note(identity.credential)

    async def route(
        self, identity: Identity, *, display: int | None, progress: Callable[[str], None]
    ) -> Route:
        user = await self._authentication.still(identity)
        if identity.enrol:
            raise AccessDenied(public=ENROL_FIRST)
        desktop = await self._pick(user, identity, display)
        actor = actor_of(identity)
        session = await self._sessions.ensure(desktop, actor=actor, tell=progress)
        return self._seats.to(session, desktop)

    async def seat(
        self,
        secret: str,
        address: str,
        *,
        desktop_id: str | None,
        look: bool,
        wake: bool,
        progress: Callable[[str], None],
    ) -> Seat:
        return await self._seats.find(
            secret, address, desktop_id=desktop_id, look=look, wake=wake, progress=progress
        )

    async def _pick(self, user: User, identity: Identity, display: int | None) -> Desktop:
        if display is not None:
            session = await self._store.session_of_display(self._host.name, display)
            held = session and await self._store.desktop(session.desktop_id)
            if held and held.user_id == user.id:
                return held
        name = desktop_name(identity.desktop or DEFAULT_DESKTOP)
        if name == DEFAULT_DESKTOP:
            return await self._accounts.desktop_for(user, name, actor=actor_of(identity))
        found = await self._store.desktop_of(user.id, name)
        if found is None:
            raise NotFound(
                public=f"You have no desktop {shown(name)}; 'ssh desk@… desk start {name}' makes it,"
                " 'desk list' shows what you have."
            )
        return found

    async def lost(self, session_id: str) -> None:
        await self._reconciler.unreachable(SessionId(session_id))

    async def word(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        return await self._words.answer(identity, argv)

    async def attached(self, door: str, attachment: Attachment) -> None:
        self._presence.attached(door, attachment)

    async def detached(self, door: str, attachment_id: str) -> None:
        self._presence.detached(door, attachment_id)

    async def report(self, door: str, activities: Sequence[Activity]) -> None:
        self._presence.report(door, activities)

    async def carries(self, door: str, load: Load) -> None:
        self._presence.carries(door, load)

    async def penalise(self, door: str, penalty: Penalty) -> None:
        _check(penalty)
        self._metrics.penalised(penalty.offence)
        self._connections.penalise(penalty, by=door)

    async def http(self, method: str, path: str) -> HttpReply:
        return await self._health.answer(method, path)

    # ------------------------------------------------------------------- for whoever serves it

    def gone(self, door: str) -> None:
        self._presence.gone(door)

    def unheard(self) -> None:
        self._presence.unheard()

    async def catch_up(self, holdings: Holdings, door: DoorControl) -> None:
        for identity in holdings.identities:
            try:
                if guest_id(identity.credential) is not None:
                    # It proves nobody: what it is good for is asked of nobody else.
                    await self._guests.still(identity)
                else:
                    await self._authentication.still(identity)
            except AccessDenied as refusal:
                door.end_credential(identity.credential, refusal.public)
            else:
                self._standing.note(identity.credential)
        for session_id in holdings.sessions:
            session = await self._store.session(SessionId(session_id))
            if session is None or session.state is not SessionState.READY:
                sleeps = session is not None and session.state is SessionState.FROZEN
                door.end_session(session_id, _over(session), sleeps=sleeps)


def _over(session: Session | None) -> str:
    """What whoever is in a session reads that is not ready any more."""
    reason = (session.reason if session is not None else None) or "it ended"
    if session is not None and session.state is SessionState.FROZEN:
        return sentences.asleep(reason)
    return sentences.stopped(reason)


def _check(penalty: Penalty) -> None:
    """A door is what the internet reaches: it shall shut out neither everybody nor for ever."""
    try:
        source = ipaddress.ip_network(penalty.source)
    except ValueError:
        raise BadRequest("a penalty for no address") from None
    if source.prefixlen < _WIDEST[source.version]:
        raise BadRequest(f"a penalty for all of {source}")
    if not 0 < penalty.seconds <= _LONGEST_PENALTY:
        raise BadRequest(f"a penalty of {penalty.seconds} s")
    if not _OFFENCE.fullmatch(penalty.offence):
        raise BadRequest("a penalty without a word for it")
