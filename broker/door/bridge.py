"""One client connection: feeds the splice and does what it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CapacityExhausted, DeskError
from broker.core.gateway import Attachment
from broker.core.model import new_id
from broker.door import actions
from broker.door.holds import Held
from broker.door.inner import InnerWire
from broker.door.splice import Splice
from broker.door.text import shown
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.gateway import Gateway, Identity
    from broker.door.actions import Action
    from broker.door.attendance import Attendance, Visit
    from broker.door.binding import Binder, Bound
    from broker.door.limits import Limits
    from broker.door.outer import OuterWire
    from broker.door.wire import Wire

log = structlog.get_logger()

_ENDED = "your desktop ended or lost its connection. Connect again to start it afresh."
_CLIENT, _PROBLEM = 64, 200
"""Characters of what others wrote that a log line shows."""


class Bridge:
    """Everything of one client: its wire, its splice, and the desktop's wire while there is one."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        attendance: Attendance,
        binder: Binder,
        limits: Limits,
        background: Tasks,
        on_authenticated: Callable[[Bridge], None],
        on_gone: Callable[[Bridge], None],
    ) -> None:
        self.id = new_id()
        self.identity: Identity | None = None
        self._gateway = gateway
        self._attendance = attendance
        self._binder = binder
        self._limits = limits
        self._background = background
        self._on_authenticated = on_authenticated
        self._on_gone = on_gone
        self._splice = Splice(limits)
        self._outer: OuterWire | None = None
        self._bound: Bound | None = None
        self._visit: Visit | None = None
        self._binding: asyncio.Task[None] | None = None
        self._display: int | None = None
        """The display that it asked for."""
        self._wanted: str | None = None
        """The session that is being dialled."""
        self._optimistic: asyncio.TimerHandle | None = None
        self._work = Tasks(self._broken)
        self._log = log.bind(conn=self.id)

    def adopt(self, outer: OuterWire) -> None:
        """The client's wire, at accept."""
        self._outer = outer
        outer.receiver = self
        outer.routes = self._splice.table.client_routes
        outer.tally = self._splice.table.client_bytes

    @property
    def outer(self) -> OuterWire:
        assert self._outer is not None
        return self._outer

    @property
    def session_id(self) -> str | None:
        """The session that the client is in, or about to enter."""
        return self._bound.route.session_id if self._bound is not None else self._wanted

    def end_session(self, sentence: str, *, sleeps: bool) -> None:
        """The session that it is in is over: whatever waits for it or was served by it ends, and
        this client gets no other; but one that is only about to enter what `sleeps` asks anew.
        """
        if self._binding is not None:
            self._binding.cancel()
        if sleeps and self._bound is None:
            self._start_binding(self._display)
            return
        self._leave("the session is over")
        self._perform(self._splice.session_ended(sentence), self.outer)

    def say_goodbye(self, text: str) -> None:
        """End the client's connection with a sentence."""
        self.outer.say_goodbye(text)

    def drop(self) -> None:
        """End it at once."""
        self.outer.drop()

    # ---------------------------------------------------------------------------- authentication

    def unknowable(self, error: DeskError) -> None:
        if isinstance(error, CapacityExhausted):  # of a flood, a line for each would be another
            return
        self._log.warning("identity unavailable", code=error.code, problem=str(error))

    def authenticated(self, identity: Identity) -> None:
        self.identity = identity
        self._splice.allow(identity.allowed)
        self._log = self._log.bind(user=identity.user, peer=self.outer.peer_name)
        client = shown(self.outer.client_version, _CLIENT)
        self._log.info("client authenticated", client=client, by=identity.method)
        self._on_authenticated(self)
        self._background.start(self._tell_proven(identity), name="proven")

    async def _tell_proven(self, identity: Identity) -> None:
        try:
            await self._gateway.proven(identity)
        except DeskError as error:
            self._log.warning("login not noted", code=error.code, problem=str(error))

    def _broken(self) -> None:
        """Work for this client failed in a way that nobody foresaw."""
        self.outer.fail("internal error")

    # -------------------------------------------------------------------------------- the wires

    def packet_received(self, wire: Wire, payload: bytes) -> None:
        if wire is self._outer:
            self._perform(self._splice.from_client(payload), wire)
        else:
            self._perform(self._splice.from_inner(payload), wire)

    def keepalive_sent(self, wire: Wire) -> None:
        if isinstance(wire, InnerWire):
            self._splice.keepalive_sent()

    def wire_lost(self, wire: Wire, error: Exception | None) -> None:
        if wire is self._outer:
            self._outer_lost()
        elif self._bound is not None and wire is self._bound.wire:
            self._inner_lost(error)

    def _outer_lost(self) -> None:
        if self._optimistic is not None:
            self._optimistic.cancel()
        self._work.cancel()
        self._leave("client gone")
        if self.identity is not None:
            self._log.info("client gone")
        self._on_gone(self)

    def _inner_lost(self, error: Exception | None) -> None:
        assert self._bound is not None
        session_id = self._bound.route.session_id
        problem = shown(str(error or ""), _PROBLEM)
        self._log.info("desktop lost", session=session_id, problem=problem)
        self._unbind()
        self._background.start(self._tell_lost(session_id), name="lost")
        self._perform(self._splice.inner_lost(_ENDED), self.outer)

    async def _tell_lost(self, session_id: str) -> None:
        try:
            await self._binder.lost(session_id)
        except DeskError as error:
            self._log.warning("gateway unavailable", code=error.code, problem=str(error))

    # ---------------------------------------------------------------------------------- actions

    def _perform(self, todo: list[Action], source: Wire) -> None:
        outer = self.outer
        inner = self._bound.wire if self._bound is not None else None
        for action in todo:
            match action:
                case actions.ToClient(payload):
                    outer.forward(payload)
                case actions.ReplyToClient(payload):
                    outer.reply(payload)
                case actions.ToInner(payload):
                    if inner is not None:
                        inner.forward(payload)
                case actions.ReplyToInner(payload):
                    if inner is not None:
                        inner.reply(payload)
                case actions.KeepaliveAnswered(payload):
                    source.keepalive_answered(payload)
                case _:
                    self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case actions.Bind(display):
                self._start_binding(display)
            case actions.Unbind():
                self._leave("another desktop is wanted")
            case actions.ResolveDisplay(channel, display):
                self._work.start(self._resolve(channel, display), name="resolve")
            case actions.RunWord(channel, argv):
                self._work.start(self._run_word(channel, argv), name="word")
            case actions.ArmOptimistic():
                self._arm_optimistic()
            case actions.Hold():
                self.outer.hold(Held.LATE)
            case actions.Release():
                self.outer.release(Held.LATE)
            case actions.Disconnect(text):
                self.outer.say_goodbye(text)
            case _:
                assert isinstance(action, actions.ArmOrphaned)
                asyncio.get_running_loop().call_later(self._limits.orphaned, self._orphaned_due)

    def _arm_optimistic(self) -> None:
        if self._optimistic is not None:
            self._optimistic.cancel()
        loop = asyncio.get_running_loop()
        self._optimistic = loop.call_later(self._limits.optimistic, self._optimistic_due)

    def _optimistic_due(self) -> None:
        if self.outer.alive:
            self._perform(self._splice.optimistic_due(), self.outer)

    def _orphaned_due(self) -> None:
        if self.outer.alive:
            self._perform(self._splice.orphaned_due(), self.outer)

    # --------------------------------------------------------------------------- what takes time

    def _start_binding(self, display: int | None) -> None:
        self._display = display
        self._binding = self._work.start(self._bind(display), name="bind")

    async def _bind(self, display: int | None) -> None:
        assert self.identity is not None
        try:
            bound = await self._binder.take(
                self.identity, display=display, progress=self._progress, routed=self._routed
            )
        except DeskError as error:
            self._log.info("client refused", code=error.code, problem=str(error))
            self._perform(self._splice.inner_unbindable(error.told), self.outer)
            return
        finally:
            if self._binding is asyncio.current_task():  # else another one has begun
                self._wanted = None
        self._attach(bound)

    def _routed(self, session_id: str | None) -> None:
        self._wanted = session_id

    def _attach(self, bound: Bound) -> None:
        outer, wire, route = self.outer, bound.wire, bound.route
        self._bound = bound
        wire.receiver = self
        wire.routes = self._splice.table.inner_routes
        wire.tally = self._splice.table.inner_bytes
        outer.join(wire)
        self._binder.entered(route.session_id)
        attachment = Attachment(
            id=new_id(),
            session_id=route.session_id,
            user=self.identity.user if self.identity is not None else "",
            peer=outer.peer_name,
            client=shown(outer.client_version, _CLIENT),
        )
        self._visit = self._attendance.enter(attachment, self._splice.table)
        todo = self._splice.inner_bound(display=route.display, keepalives=wire.unanswered)
        self._perform(todo, outer)
        self._log.info("client attached", session=route.session_id, desktop=route.desktop_id)

    def _unbind(self) -> InnerWire | None:
        """Part from the desktop; return its wire."""
        bound, self._bound = self._bound, None
        visit, self._visit = self._visit, None
        if bound is None or visit is None:
            return None
        bound.wire.receiver = None
        bound.wire.part()
        self.outer.part()
        self._binder.left(bound.route.session_id)
        self._attendance.leave(visit)
        return bound.wire

    def _leave(self, reason: str) -> None:
        """Part from the desktop, and end its connection once all was sent."""
        wire = self._unbind()
        if wire is not None:
            wire.say_goodbye(reason)

    def _progress(self, sentence: str) -> None:
        if self.outer.alive:
            self._perform(self._splice.progress(sentence), self.outer)

    async def _resolve(self, channel: int, display: int) -> None:
        """Whether the display is the bound desktop's. It may start the other desktop, which the
        user is about to want.
        """
        assert self.identity is not None
        here = self.session_id or ""
        try:
            same = await self._binder.same_session(self.identity, here, display)
        except DeskError as error:
            self._perform(self._splice.display_refused(channel, error.told), self.outer)
        else:
            self._perform(self._splice.display_resolved(channel, same=same), self.outer)

    async def _run_word(self, channel: int, argv: tuple[str, ...]) -> None:
        assert self.identity is not None
        try:
            reply = await self._gateway.word(self.identity, argv)
        except DeskError as error:
            todo = self._splice.word_answered(channel, "", f"desk: {error.told}\n", 1)
        else:
            todo = self._splice.word_answered(channel, reply.stdout, reply.stderr, reply.status)
        self._perform(todo, self.outer)
