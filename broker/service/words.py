"""The broker's own words, `ssh desk@host desk …` and `desk …` inside a desktop: answered in plain
text, or with `--json`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import AccessDenied, BadRequest, DeskError, NotFound
from broker.core.gateway import WordReply
from broker.core.model import DEFAULT_DESKTOP
from broker.service.authentication import ENROL_FIRST
from broker.service.browser_words import BrowserWords
from broker.service.desktop_words import DesktopWords
from broker.service.identity_words import IdentityWords
from broker.service.ownaccess import OwnAccess
from broker.service.share_words import ShareWords
from broker.service.vocabulary import ENROLLING, INSIDE, WORDS, Caller, Facts, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from broker.core.gateway import Identity
    from broker.core.interfaces import Clock, Store
    from broker.core.model import SessionId
    from broker.service.accounts import Accounts
    from broker.service.authentication import Authentication
    from broker.service.codes import OneTimeCodes
    from broker.service.desktop_words import Say
    from broker.service.flights import Spawn
    from broker.service.guests import Guests
    from broker.service.lines import Entrance
    from broker.service.links import Links
    from broker.service.looking import Looking
    from broker.service.policies import Policies
    from broker.service.presence import Presence
    from broker.service.reaper import Reaper
    from broker.service.sessions import Sessions
    from broker.service.shares import Shares
    from broker.service.watches import Watches
    from broker.service.why import Explainer

log = structlog.get_logger()

_USAGE_STATUS, _REFUSED_STATUS = 2, 1

#: Seconds that an answer has to get out before what it announced ends the connection under it.
_ANSWER_FIRST = 1.0


class Words:
    """Answers each word for a proven person, or for a desktop."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        accounts: Accounts,
        authentication: Authentication,
        codes: OneTimeCodes,
        presence: Presence,
        watches: Watches,
        reaper: Reaper,
        explainer: Explainer,
        policies: Policies,
        links: Links,
        shares: Shares,
        guests: Guests,
        looking: Looking,
        entrance: Entrance,
        spawn: Spawn,
        clock: Clock,
    ) -> None:
        self._store = store
        self._authentication = authentication
        self._spawn = spawn
        self._clock = clock
        desktops = DesktopWords(
            store=store,
            sessions=sessions,
            accounts=accounts,
            presence=presence,
            watches=watches,
            reaper=reaper,
            explainer=explainer,
            policies=policies,
            entrance=entrance,
            later=self._later,
        )
        own = OwnAccess(store=store, accounts=accounts, codes=codes, policies=policies, clock=clock)
        people = IdentityWords(
            own, store=store, policies=policies, end=accounts.end, later=self._later
        )
        browsers = BrowserWords(store=store, links=links)
        sharing = ShareWords(store=store, shares=shares, guests=guests, looking=looking)
        self._answers: dict[str, Say] = {
            **desktops.answers(),
            **people.answers(),
            **browsers.answers(),
            **sharing.answers(),
        }

    async def answer(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        """Of a person, by the front door."""

        async def caller() -> Caller:
            user = await self._authentication.still(identity)
            return Caller(user, identity.desktop or DEFAULT_DESKTOP, identity)

        words = ENROLLING if identity.enrol else WORDS
        return await self._answer(caller, argv, inside=False, words=words)

    async def answer_inside(self, session_id: SessionId, argv: Sequence[str]) -> WordReply:
        """Of whatever runs in a desktop: it speaks for that desktop alone."""

        async def caller() -> Caller:
            session = await self._store.session(session_id)
            desktop = await self._store.desktop(session.desktop_id) if session else None
            user = await self._store.user_by_id(desktop.user_id) if desktop else None
            if session is None or not session.live or desktop is None or user is None:
                raise NotFound(public="This desktop is not known any more.")
            return Caller(user, desktop.name)

        return await self._answer(caller, argv, inside=True, words=INSIDE)

    async def _answer(
        self,
        find: Callable[[], Awaitable[Caller]],
        argv: Sequence[str],
        *,
        inside: bool,
        words: Collection[str],
    ) -> WordReply:
        as_json = "--json" in argv
        try:
            call = parse(argv, inside=inside)
            if call.word not in words:
                raise AccessDenied(public=ENROL_FIRST)
            who = await find()
            facts = (
                _help(words) if call.word == "help" else await self._answers[call.word](who, call)
            )
        except DeskError as error:
            return _refusal(error, as_json=as_json)
        text = json.dumps(facts.data) if call.as_json else facts.text
        return WordReply(stdout=text + "\n", stderr="", status=0)

    def _later(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do what would end the very connection by which it was asked, once the answer is out."""

        async def do() -> None:
            await self._clock.sleep(_ANSWER_FIRST)
            try:
                await work()
            except DeskError as error:
                log.warning("a word was not done", code=error.code, reason=str(error))

        self._spawn(do(), name="word")


def _help(words: Collection[str]) -> Facts:
    said = {word: told for word, told in WORDS.items() if word in words}
    lines = [f"  desk {usage:<20} {meaning}" for usage, meaning in said.values()]
    text = "\n".join(["Words of the broker; each takes --json:", *lines])
    return Facts({word: meaning for word, (_, meaning) in said.items()}, text)


def _refusal(error: DeskError, *, as_json: bool) -> WordReply:
    status = _USAGE_STATUS if isinstance(error, BadRequest) else _REFUSED_STATUS
    if as_json:
        problem = json.dumps({"error": error.code, "detail": error.public})
        return WordReply(stdout=problem + "\n", stderr="", status=status)
    return WordReply(stdout="", stderr=f"desk: {error.told}\n", status=status)
