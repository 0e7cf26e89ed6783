"""One front door at the broker's socket: what it asks is answered, what it must hear is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING

import structlog

from broker.core import messages
from broker.core.codec import BadMessage
from broker.core.errors import CapacityExhausted, DeskError, ShuttingDown
from broker.core.messages import (
    CALL,
    Answer,
    Ask,
    Cancel,
    Hello,
    Progress,
    Refusal,
    Welcome,
    is_long,
    looks_long,
)
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.gateway import (
        Activity,
        Attachment,
        GatewayService,
        Holdings,
        Load,
        Penalty,
        Route,
        Seat,
    )
    from broker.core.messages import Asked, Noted, Sought, ToBroker, ToDoor
    from broker.http.doorstep import Process
    from broker.system.line import Line

log = structlog.get_logger()

#: Calls of one door that may be under way: each of its 4096 connections has one, or waits for two.
CALLS = 8192

#: Characters of all of them together.
UNDER_WAY = 4 << 20

#: Of some, fewer may be under way: a report is long, and metrics take their time to write.
FEWER: dict[type[Asked], int] = {messages.Report: 1, messages.GetHttp: 64}

#: Of some, so many are worked at, and the others wait for them: neither the database nor the
#: engine is one door's alone.
LANES: dict[type[Asked], int] = {
    messages.Identify: 64,
    messages.Redeem: 4,
    messages.CheckCode: 8,
    messages.Lost: 16,
}

#: Identities, and sessions, that one door may hold; activities that it may report.
HOLDINGS = 16_384

#: Brackets and commas of a long message: what is read of them is many times as long as the text.
PARTS = 32 * HOLDINGS

#: Seconds until a connection has said which door it is.
HELLO = 5.0

#: Characters of what a door says of a client, and kinds of channels that a client may have.
TEXT, KINDS = 256, 16

#: Seconds that anything of a client can be ago: ten years.
AGO = 3650 * 86_400.0

#: Connections that a door can carry: more than a host has descriptors for.
CARRIED = 1 << 20


class Caller:
    """Implements `DoorControl` for the door that called."""

    def __init__(
        self,
        gateway: GatewayService,
        process: Process,
        *,
        on_hello: Callable[[Caller, str], None],
    ) -> None:
        """`on_hello` is called with the door's name, before it becomes `door`; it may raise
        `BadMessage`.
        """
        self.door: str | None = None
        self.process = process
        self._line: Line[ToDoor, ToBroker]
        self._gateway = gateway
        self._on_hello = on_hello
        self._size = 0
        """Of the message that is read."""
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._kinds: Counter[type[Asked]] = Counter()
        self._under_way = 0
        self._lanes = {kind: asyncio.Semaphore(places) for kind, places in LANES.items()}
        self._words: set[asyncio.Task[None]] = set()
        self._work = Tasks()
        self._closing = False
        self._log = log

    async def run(self, line: Line[ToDoor, ToBroker]) -> str:
        """Speak with it until the connection ends; return why. The line shows to `admit` what
        comes.
        """
        self._line = line
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

    def end_credential(self, credential: str, sentence: str) -> None:
        self._put(messages.EndCredential(credential, sentence))

    def penalise(self, penalty: Penalty) -> None:
        self._put(messages.Penalise(penalty))

    def _put(self, message: ToDoor) -> None:
        """At once and in order: what a door reads first was so first."""
        self._line.put(message)

    # ---------------------------------------------------------------------------- what it says

    async def admit(self, text: str) -> None:
        """Let a long message wait until its process may send it; raises `BadMessage` for what
        should not be read at all.
        """
        self._size = len(text)
        if not text.isascii():
            raise BadMessage("ASCII is wanted")
        if self._size <= CALL:
            return
        if not looks_long(text):
            raise BadMessage(f"more than {CALL} characters")
        if sum(text.count(part) for part in "[{,") > PARTS:
            raise BadMessage(f"more than {PARTS} parts")
        await asyncio.sleep(self.process.pause(self._size))

    async def _take(self, message: ToBroker) -> None:
        if self._size > CALL and not is_long(message):
            raise BadMessage(f"more than {CALL} characters")
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
        # Before it is asked what is over, so that nothing that ends meanwhile is missed.
        self._on_hello(self, hello.door)
        self.door = hello.door
        self._log = log.bind(door=hello.door)
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
        elif (full := self._full(ask.what)) is not None:
            self._refuse(ask, CapacityExhausted(f"{full} of one door are under way"))
        else:
            self._start(ask, 0 if is_long(ask) else self._size)

    def _full(self, what: Asked) -> str | None:
        """What there is so much of that there may be no more."""
        kind = type(what)
        if len(self._calls) >= CALLS:
            return f"{CALLS} calls"
        if self._kinds[kind] >= FEWER.get(kind, CALLS):
            return f"{FEWER[kind]} calls {kind.__name__}"
        if self._under_way + self._size > UNDER_WAY and not isinstance(what, messages.Report):
            return f"calls of {UNDER_WAY} characters"
        return None

    def _start(self, ask: Ask, size: int) -> None:
        kind = type(ask.what)
        task = self._work.start(self._answer(ask), name="gateway call")
        self._calls[ask.number] = task
        self._kinds[kind] += 1
        self._under_way += size

        def done(task: asyncio.Task[None]) -> None:
            del self._calls[ask.number]
            self._kinds[kind] -= 1
            self._under_way -= size
            self._words.discard(task)

        task.add_done_callback(done)
        if isinstance(ask.what, messages.SayWord):
            self._words.add(task)

    async def _answer(self, ask: Ask) -> None:
        try:
            async with self._lanes.get(type(ask.what), nullcontext()):
                value = await self._perform(ask)
            self._put(Answer(ask.number, value))
        except DeskError as error:
            self._refuse(ask, error)
        except Exception:  # noqa: BLE001 - here errors become words for a door
            if (spared := self.process.line()) is not None:
                self._log.exception("call failed", call=type(ask.what).__name__, **spared)
            self._put(Refusal.of(ask.number, DeskError()))

    def _refuse(self, ask: Ask, error: DeskError) -> None:
        """The operator's text stays here: the internet reaches the door."""
        if (spared := self.process.line()) is not None:
            call = type(ask.what).__name__
            self._log.info("call refused", call=call, code=error.code, problem=str(error), **spared)
        self._put(Refusal.of(ask.number, error))

    async def _perform(self, ask: Ask) -> messages.Value:
        gateway = self._gateway
        match ask.what:
            case messages.Identify(login, key, address):
                return await gateway.identify(login, key, address)
            case messages.Redeem(login, key, address):
                return await gateway.redeem(login, key, address)
            case messages.CheckPassword(login, password, address):
                return await gateway.check_password(login, password, address)
            case messages.CheckCode(ticket, code, address):
                return await gateway.check_code(ticket, code, address)
            case messages.FindRoute() | messages.FindSeat() as sought:
                return await self._seek(sought, ask.number)
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

    async def _seek(self, what: Sought, number: int) -> Route | Seat:
        def progress(sentence: str) -> None:
            self._put(Progress(number, sentence))

        if isinstance(what, messages.FindRoute):
            return await self._gateway.route(what.identity, display=what.display, progress=progress)
        return await self._gateway.seat(
            what.secret,
            what.address,
            desktop_id=what.desktop_id,
            look=what.look,
            wake=what.wake,
            progress=progress,
        )

    async def _note(self, door: str, told: Noted) -> None:
        match told:
            case messages.Proven(identity):
                await self._gateway.proven(identity)
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
        case messages.Identify() | messages.Redeem() | messages.CheckPassword():
            _check_texts(what.address)
        case messages.FindSeat():
            _check_texts(what.address, what.secret, what.desktop_id or "")
        case messages.CheckCode():
            _check_texts(what.address)
            if len(what.code) > TEXT:
                raise BadMessage(f"a code of more than {TEXT} characters")
        case messages.Proven(identity):
            _check_texts(identity.user_id, identity.user, identity.method, identity.address)
        case messages.Attached(attachment):
            _check_attachment(attachment)
        case messages.Report(activities):
            _check_report(activities)
        case messages.Carries(load):
            _check_load(load)


def _check_report(activities: Sequence[Activity]) -> None:
    if len(activities) > HOLDINGS:
        raise BadMessage(f"more than {HOLDINGS} activities")
    for activity in activities:
        _check_attachment(activity.attachment)
        _check_texts(*activity.kinds)
        if len(activity.kinds) > KINDS:
            raise BadMessage(f"more than {KINDS} kinds of channels")
        for ago in (activity.attached_for, *activity.ages.values()):
            # Written so that what is no number is none of them.
            if not ago >= 0:
                raise BadMessage("something is yet to come")
            if not ago <= AGO:
                raise BadMessage("something was too long ago")


def _check_load(load: Load) -> None:
    if not 0 <= load.authenticated <= load.connections <= CARRIED:
        raise BadMessage(f"of 0 to {CARRIED} connections, some are authenticated")
    if not 0 <= load.lag <= AGO:
        raise BadMessage("its loop was late for longer than it can be")
    counts = (load.accepted, load.penalised, load.crowded, load.from_clients, load.from_desktops)
    if min(*counts, *load.offences.values()) < 0:
        raise BadMessage("it did less than nothing")


def _check_attachment(attachment: Attachment) -> None:
    _check_texts(
        attachment.id, attachment.session_id, attachment.user, attachment.peer, attachment.client
    )


def _check_texts(*texts: str) -> None:
    for text in texts:
        if len(text) > TEXT or not text.isprintable():
            raise BadMessage(f"up to {TEXT} characters that can be printed are wanted")
