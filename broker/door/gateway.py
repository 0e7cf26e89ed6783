"""The door's side of the Gateway: one web socket to the broker, kept for as long as the door lives."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import aiohttp
import structlog
from aiohttp import hdrs

from broker.core import messages
from broker.core.errors import (
    BadRequest,
    BrokerUnavailable,
    DeskError,
    Interrupted,
    ShuttingDown,
)
from broker.core.gateway import (
    CodeWanted,
    DoorControl,
    HttpReply,
    Identity,
    Invited,
    Route,
    Seat,
    WordReply,
)
from broker.core.messages import (
    MESSAGE,
    PROTOCOL,
    TO_BROKER,
    TO_DOOR,
    WAITING,
    Answer,
    Refusal,
    longest,
)
from broker.door.link import Link, Unsent
from broker.system.line import CLOSE, Line, TooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.core.gateway import (
        Activity,
        Attachment,
        Holdings,
        KeyAnswer,
        Load,
        Login,
        OfferedKey,
        Penalty,
    )
    from broker.core.messages import Asked, ToBroker, ToDoor, Value

log = structlog.get_logger()

#: Seconds between two tries to reach the broker: doubled each time.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

#: Seconds after which a connection was a good one: the next try after it begins anew.
LASTING = 5.0

#: Seconds that one try may take: the socket can be there while nobody accepts yet.
CONNECT = 30.0

#: Seconds of silence after which the broker is asked whether it lives; it has half of that to
#: answer.
HEARTBEAT = 20.0

#: Seconds for the answer to what does not wait for a broker that is away.
TOLD = 5.0

#: Seconds that a request over HTTP waits for a broker that is away: whoever asks how Desk is wants
#: to hear so.
PASSED_ON = 1.0

#: How often a call is asked: should it be what a broker dies of, it does not kill many.
TRIES = 5

_RESTARTING = "Desk is restarting …"


class FrontDoor(DoorControl, Protocol):
    """The door, as its end of the gateway sees it."""

    @property
    def id(self) -> str:
        """Its name towards the broker, new with each start."""

    def holdings(self) -> Holdings:
        """What it has open now."""

    def report_now(self) -> None:
        """A broker is there that may know nothing: tell it at once who is attached."""


class RemoteGateway:
    """Implements `core.gateway.Gateway` over the broker's socket. While the broker is away, what
    can be asked twice waits for it at most `wait` seconds; then it raises `BrokerUnavailable`.
    What tells of attachments does not wait: it is told anew when the broker is back. What came
    over HTTP waits `passed_on` seconds.
    """

    def __init__(
        self, path: Path, *, wait: float, told: float = TOLD, passed_on: float = PASSED_ON
    ) -> None:
        """`told` is the time for an answer to what does not wait."""
        self._path = path
        self._wait = wait
        self._told = told
        self._passed_on = passed_on
        self._link: Link | None = None
        self._changed = asyncio.Event()
        """There is a link, or there will be none any more."""
        self._gone = asyncio.Event()
        """There is none."""
        self._gone.set()
        self._stopped = False
        self._trouble: str | None = "not tried"
        """Why the broker is away, as the log says already."""

    # ------------------------------------------------------------------------- the connection

    async def run(self, door: FrontDoor) -> None:
        """Keep the connection until cancelled, and do what the broker tells the door. The calls
        of the gateway wait until this runs.
        """
        pause = FIRST_PAUSE
        timeout = aiohttp.ClientTimeout(total=CONNECT)
        connector = aiohttp.UnixConnector(str(self._path))
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
                loop = asyncio.get_running_loop()
                while True:
                    begun = loop.time()
                    welcome = await self._connection(client, door)
                    if welcome and loop.time() - begun >= LASTING:
                        pause = FIRST_PAUSE
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._stopped = True
            self._changed.set()

    async def _connection(self, client: aiohttp.ClientSession, door: FrontDoor) -> bool:
        """One connection from begin to end; return whether the broker welcomed it."""
        try:
            socket = await client.ws_connect(
                "http://broker/gateway",
                protocols=[PROTOCOL],
                heartbeat=HEARTBEAT,
                max_msg_size=MESSAGE,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE),
            )
        except aiohttp.WSServerHandshakeError as error:
            self._away(_refused(error))
            return False
        except (aiohttp.ClientError, OSError) as error:
            self._away(str(error) or type(error).__name__)
            return False
        line: Line[ToBroker, ToDoor] = Line(
            socket, TO_BROKER, TO_DOOR, longest=longest, waiting=WAITING
        )
        reason = await self._speak(line, door)
        welcome = self._trouble is None
        self._away(reason)
        return welcome

    async def _speak(self, line: Line[ToBroker, ToDoor], door: FrontDoor) -> str:
        def welcomed(link: Link) -> None:
            self._link, self._trouble = link, None
            self._gone.clear()
            self._changed.set()
            log.info("broker there", door=door.id)
            door.report_now()

        try:
            return await Link(line, door, welcomed).run(door.id, door.holdings())
        except Exception:
            log.exception("the gateway failed")
            return "it failed"
        finally:
            self._link = None
            self._gone.set()
            self._changed.clear()
            await line.close()

    def _away(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning("broker away", reason=reason)
        self._trouble = reason

    # ------------------------------------------------------------------------------ the calls

    async def identify(self, login: Login, key: OfferedKey, address: str) -> KeyAnswer:
        found = await self._ask(messages.Identify(login, key, address))
        assert found is None or isinstance(found, (Identity, CodeWanted, Invited))
        return found

    async def redeem(
        self, login: Login, key: OfferedKey, address: str
    ) -> Identity | CodeWanted | None:
        """Not asked twice: an invite that was bound in the first try would look used."""
        found = await self._ask(messages.Redeem(login, key, address), again=False)
        assert found is None or isinstance(found, (Identity, CodeWanted))
        return found

    async def check_password(
        self, login: Login, password: str, address: str
    ) -> Identity | CodeWanted | None:
        found = await self._ask(messages.CheckPassword(login, password, address))
        assert found is None or isinstance(found, (Identity, CodeWanted))
        return found

    async def check_code(self, ticket: str, code: str, address: str) -> Identity | None:
        """Not asked twice: a code counts once."""
        found = await self._ask(messages.CheckCode(ticket, code, address), again=False)
        assert found is None or isinstance(found, Identity)
        return found

    async def proven(self, identity: Identity) -> None:
        await self._tell(messages.Proven(identity))

    async def route(
        self, identity: Identity, *, display: int | None, progress: Callable[[str], None]
    ) -> Route:
        found = await self._ask(messages.FindRoute(identity, display), progress=progress)
        assert isinstance(found, Route)
        return found

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
        what = messages.FindSeat(secret, address, desktop_id, look, wake)
        found = await self._ask(what, progress=progress)
        assert isinstance(found, Seat)
        return found

    async def lost(self, session_id: str) -> None:
        await self._ask(messages.Lost(session_id))

    async def word(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        """One that may have been said already is not said again."""
        try:
            reply = await self._ask(messages.SayWord(identity, tuple(argv)), again=False)
        except DeskError as error:
            return _no_word(error, as_json="--json" in argv)
        assert isinstance(reply, WordReply)
        return reply

    async def attached(self, door: str, attachment: Attachment) -> None:
        del door  # the connection says which
        await self._tell(messages.Attached(attachment))

    async def detached(self, door: str, attachment_id: str) -> None:
        del door
        await self._tell(messages.Detached(attachment_id))

    async def report(self, door: str, activities: Sequence[Activity]) -> None:
        del door
        await self._tell(messages.Report(tuple(activities)))

    async def carries(self, door: str, load: Load) -> None:
        del door
        await self._tell(messages.Carries(load))

    async def penalise(self, door: str, penalty: Penalty) -> None:
        del door
        await self._tell(messages.Penalise(penalty))

    async def http(self, method: str, path: str) -> HttpReply:
        what = messages.GetHttp(method, path)
        reply = await self._ask(what, again=method in {"GET", "HEAD"}, wait=self._passed_on)
        assert isinstance(reply, HttpReply)
        return reply

    async def _ask(
        self,
        what: Asked,
        *,
        progress: Callable[[str], None] | None = None,
        again: bool = True,
        wait: float | None = None,
    ) -> Value:
        """Ask until there is an answer, each time waiting for the broker; not `again` what was
        begun.
        """
        wait = self._wait if wait is None else wait
        waited = False
        for _ in range(TRIES):
            if self._link is None and progress is not None and not waited:
                waited = True
                progress(_RESTARTING)
            link = await self._there(wait)
            try:
                outcome = await _asked(link, what, progress)
            except Unsent:
                await link.gone.wait()
                continue
            if isinstance(outcome, Refusal) and outcome.code == ShuttingDown.code:
                await _end_of(link, outcome, wait)
            elif outcome is not None:
                return _value(outcome)
            elif not again:
                raise Interrupted
        raise BrokerUnavailable(f"asked {TRIES} times, each time the connection broke")

    async def _tell(self, what: Asked) -> None:
        """Tell a broker that is there now."""
        if self._link is None:
            raise BrokerUnavailable("it is away")
        try:
            async with asyncio.timeout(self._told):
                outcome = await _asked(self._link, what)
        except (TimeoutError, Unsent) as error:
            raise BrokerUnavailable(f"no answer: {type(error).__name__}") from None
        if outcome is None:
            raise BrokerUnavailable("the connection broke")
        _value(outcome)

    async def there(self, wait: float) -> None:
        """Wait for the broker, for what is said to it elsewhere. Raises `BrokerUnavailable` when it
        does not come in `wait` seconds.
        """
        await self._there(wait)

    async def away(self, wait: float) -> None:
        """Return once the broker has been away for `wait` seconds."""
        with suppress(BrokerUnavailable):
            while True:
                await self._gone.wait()
                await self._there(wait)

    async def _there(self, wait: float) -> Link:
        """The broker, when it comes in time."""
        try:
            async with asyncio.timeout(wait):
                while self._link is None and not self._stopped:
                    await self._changed.wait()
        except TimeoutError:
            raise BrokerUnavailable(f"away for {wait:g} s") from None
        if self._link is None:
            raise BrokerUnavailable("the door is closing")
        return self._link


async def _end_of(link: Link, refusal: Refusal, wait: float) -> None:
    """A broker that leaves begins nothing new: the next one is asked, if this one goes soon."""
    try:
        async with asyncio.timeout(wait):
            await link.gone.wait()
    except TimeoutError:
        raise refusal.error from None


async def _asked(
    link: Link, what: Asked, progress: Callable[[str], None] | None = None
) -> Answer | Refusal | None:
    try:
        return await link.ask(what, progress)
    except TooLong as error:
        raise BadRequest(str(error), public="That is longer than anything Desk takes.") from None


def _value(outcome: Answer | Refusal) -> Value:
    if isinstance(outcome, Refusal):
        raise outcome.error
    return outcome.value


def _no_word(error: DeskError, *, as_json: bool) -> WordReply:
    """As the broker would say it."""
    if as_json:
        problem = json.dumps({"error": error.code, "detail": error.public})
        return WordReply(stdout=problem + "\n", stderr="", status=1)
    return WordReply(stdout="", stderr=f"desk: {error.told}\n", status=1)


def _refused(error: aiohttp.WSServerHandshakeError) -> str:
    spoken = error.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL) if error.headers else None
    if error.status == HTTPStatus.BAD_REQUEST and spoken is not None:
        return f"the versions of door and broker differ: {PROTOCOL}, and the broker's {spoken}"
    return f"it refuses this door ({error.status})"
