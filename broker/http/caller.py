"""One front door at the broker's socket: what it asks is answered, what it must hear is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core import messages
from broker.core.codec import BadMessage
from broker.core.errors import CapacityExhausted, DeskError, ShuttingDown
from broker.core.messages import Answer, Ask, Cancel, Hello, Progress, Refusal, Welcome
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.core.gateway import Activity, Attachment, GatewayService, Holdings, Penalty
    from broker.core.messages import Asked, Noted, ToBroker, ToDoor
    from broker.system.line import Line

log = structlog.get_logger()

#: Calls of one door that may be under way: each of its 4096 connections has one, or waits for two.
CALLS = 8192

#: Identities, and sessions, that one door may hold.
HOLDINGS = 16_384

#: Seconds until a connection has said which door it is.
HELLO = 5.0

#: Characters of what a door says of a client, and kinds of channels that a client may have.
TEXT, KINDS = 256, 16


class Caller:
    """Implements `DoorControl` for the door that called."""

    def __init__(
        self,
        line: Line[ToDoor, ToBroker],
        gateway: GatewayService,
        *,
        on_hello: Callable[[Caller], None],
    ) -> None:
        """`on_hello` is called once, when `door` is known."""
        self.door: str | None = None
        self._line = line
        self._gateway = gateway
        self._on_hello = on_hello
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._words: set[asyncio.Task[None]] = set()
        self._work = Tasks()
        self._closing = False
        self._log = log

    async def run(self) -> str:
        """Speak with it until the connection ends; return why."""
        impatience = asyncio.get_running_loop().call_later(HELLO, self._silent)
        try:
            return await self._line.run(self._take)
        finally:
            impatience.cancel()
            await self._work.close()

    def let_go(self, reason: str) -> None:
        """End the connection."""
        self._line.end(reason)

    async def finish(self, grace: float) -> None:
        """Answer nothing new, and let the words that are being said come to their end."""
        self._closing = True
        if self._words:
            await asyncio.wait(set(self._words), timeout=grace)

    # ------------------------------------------------------------------------- what it is told

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        self._put(messages.EndSession(session_id, sentence, sleeps))

    def end_user(self, user_id: str, sentence: str) -> None:
        self._put(messages.EndUser(user_id, sentence))

    def end_key(self, fingerprint: str, sentence: str) -> None:
        self._put(messages.EndKey(fingerprint, sentence))

    def penalise(self, penalty: Penalty) -> None:
        self._put(messages.Penalise(penalty))

    def _put(self, message: ToDoor) -> None:
        """At once and in order: what a door reads first was so first."""
        self._line.put(message)

    # ---------------------------------------------------------------------------- what it says

    async def _take(self, message: ToBroker) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Ask():
                self._begin(message)
            case Cancel(number):
                if (task := self._calls.get(number)) is not None:
                    task.cancel()

    def _silent(self) -> None:
        if self.door is None:
            self.let_go(f"it has not said who it is in {HELLO:g} s")

    def _greet(self, hello: Hello) -> None:
        if self.door is not None:
            raise BadMessage("Hello came twice")
        _check_texts(hello.door)
        if max(len(hello.holdings.identities), len(hello.holdings.sessions)) > HOLDINGS:
            raise BadMessage(f"more than {HOLDINGS} holdings")
        self.door = hello.door
        self._log = log.bind(door=hello.door)
        # Before it is asked what is over, so that nothing that ends meanwhile is missed.
        self._on_hello(self)
        self._put(Welcome())
        self._work.start(self._catch_up(hello.holdings), name="catch up")

    async def _catch_up(self, holdings: Holdings) -> None:
        try:
            await self._gateway.catch_up(holdings, self)
        except DeskError as error:
            self._log.warning("door not caught up", code=error.code, problem=str(error))
            self.let_go("what it missed cannot be told now")
        except Exception:
            self.let_go("what it missed cannot be told now")
            raise

    def _begin(self, ask: Ask) -> None:
        if self.door is None:
            raise BadMessage("Hello is wanted first")
        if ask.number in self._calls:
            raise BadMessage("a call has the number of another")
        _check(ask.what)
        if self._closing:
            self._put(Refusal.of(ask.number, ShuttingDown()))
        elif len(self._calls) >= CALLS:
            self._refuse(ask, CapacityExhausted(f"{CALLS} calls of one door are under way"))
        else:
            task = self._work.start(self._answer(ask), name="gateway call")
            self._calls[ask.number] = task
            task.add_done_callback(lambda _: self._calls.pop(ask.number))
            if isinstance(ask.what, messages.SayWord):
                self._words.add(task)
                task.add_done_callback(self._words.discard)

    async def _answer(self, ask: Ask) -> None:
        try:
            self._put(Answer(ask.number, await self._perform(ask)))
        except DeskError as error:
            self._refuse(ask, error)
        except Exception:  # noqa: BLE001 - here errors become words for a door
            self._log.exception("call failed", call=type(ask.what).__name__)
            self._put(Refusal.of(ask.number, DeskError()))

    def _refuse(self, ask: Ask, error: DeskError) -> None:
        """The operator's text stays here: the internet reaches the door."""
        call = type(ask.what).__name__
        self._log.info("call refused", call=call, code=error.code, problem=str(error))
        self._put(Refusal.of(ask.number, error))

    async def _perform(self, ask: Ask) -> messages.Value:
        gateway = self._gateway
        match ask.what:
            case messages.Identify(login, key):
                return await gateway.identify(login, key)
            case messages.FindRoute(identity, display):

                def progress(sentence: str) -> None:
                    self._put(Progress(ask.number, sentence))

                return await gateway.route(identity, display=display, progress=progress)
            case messages.Lost(session_id):
                await gateway.lost(session_id)
            case messages.SayWord(identity, argv):
                return await gateway.word(identity, argv)
            case messages.GetHttp(method, path):
                return await gateway.http(method, path)
            case told:
                assert self.door is not None
                await self._note(self.door, told)
        return None

    async def _note(self, door: str, told: Noted) -> None:
        match told:
            case messages.Attached(attachment):
                await self._gateway.attached(door, attachment)
            case messages.Detached(attachment_id):
                await self._gateway.detached(door, attachment_id)
            case messages.Report(activities):
                await self._gateway.report(door, activities)
            case messages.Carries(load):
                await self._gateway.carries(door, load)
            case messages.Penalise(penalty):
                await self._gateway.penalise(door, penalty)


def _check(what: Asked) -> None:
    """What is kept, counted and shown of clients must be what a door can have seen. Raises
    `BadMessage`.
    """
    match what:
        case messages.Attached(attachment):
            _check_attachment(attachment)
        case messages.Report(activities):
            _check_report(activities)


def _check_report(activities: Iterable[Activity]) -> None:
    for activity in activities:
        _check_attachment(activity.attachment)
        _check_texts(*activity.kinds)
        if len(activity.kinds) > KINDS:
            raise BadMessage(f"more than {KINDS} kinds of channels")
        if min(activity.attached_for, *activity.ages.values(), 0.0) < 0:
            raise BadMessage("something is yet to come")


def _check_attachment(attachment: Attachment) -> None:
    _check_texts(
        attachment.id, attachment.session_id, attachment.user, attachment.peer, attachment.client
    )


def _check_texts(*texts: str) -> None:
    for text in texts:
        if len(text) > TEXT or not text.isprintable():
            raise BadMessage(f"up to {TEXT} characters that can be printed are wanted")
