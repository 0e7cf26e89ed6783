"""The broker's own words, `ssh desk@host desk …` and `desk …` inside a desktop: answered in plain
text, or with `--json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import AccessDenied, BadRequest, Conflict, DeskError, NotFound
from broker.core.gateway import WordReply
from broker.core.model import DEFAULT_DESKTOP, SessionState, desktop_name, shown
from broker.core.words import spoken, spoken_size
from broker.service import keeping, why
from broker.service.authentication import ENROL_FIRST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.gateway import Identity
    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Clock, Store
    from broker.core.model import Desktop, Session, SessionId, User
    from broker.service.accounts import Accounts
    from broker.service.authentication import Authentication
    from broker.service.flights import Spawn
    from broker.service.policies import Policies
    from broker.service.presence import Presence
    from broker.service.reaper import Reaper
    from broker.service.sessions import Sessions
    from broker.service.watches import Watch, Watches

log = structlog.get_logger()

#: Each word, how it is written and what it does; `docs/commands.md` names them all.
WORDS: dict[str, tuple[str, str]] = {
    "help": ("help", "show these words"),
    "list": ("list", "your desktops and what they do now"),
    "status": ("status [NAME]", "one desktop in full"),
    "why": ("why [NAME]", "what keeps it awake, and when it sleeps"),
    "start": ("start [NAME]", "start a desktop; a new NAME makes one"),
    "stop": ("stop [NAME]", "stop a desktop; its home stays"),
    "extend": ("extend [TIME] [NAME]", "keep it awake for so long, 4h when not said; 0 ends that"),
    "keep": ("keep [NAME]", "keep it awake for as long as one may"),
    "sleep": ("sleep [NAME]", "let it sleep now; programs stay as they are"),
}

#: What is answered inside a desktop: whatever runs there speaks for it alone.
INSIDE = frozenset({"help", "status", "why", "stop", "extend", "keep", "sleep"})

#: What is answered to whoever is let in to set up a one-time code.
ENROLLING = frozenset({"help", "code"})

_USAGE_STATUS, _REFUSED_STATUS = 2, 1


@dataclass(frozen=True, slots=True)
class Call:
    """A word as it was said."""

    word: str
    time: str | None
    name: str | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """Who says it."""

    user: User
    desktop: str
    """The one that is meant when none is named."""
    inside: bool = False
    """From within that desktop, which is then the only one to speak of."""

    @property
    def actor(self) -> str:
        return f"user:{self.user.name}"


def parse(argv: Sequence[str], *, inside: bool = False) -> Call:
    """Raises `BadRequest` with what is allowed."""
    plain = [part for part in argv if part not in {"--json", "--help", "-h"}]
    word = plain[0] if plain else "help"
    if "--help" in argv or "-h" in argv:
        word, plain = "help", []
    allowed = [name for name in WORDS if not inside or name in INSIDE]
    if word not in allowed:
        where = " inside a desktop" if inside else ""
        raise BadRequest(
            public=f"{shown(word)} is no word of Desk{where}; there are {', '.join(allowed)}."
        )
    rest = plain[1:]
    usage = WORDS[word][0] if not inside else WORDS[word][0].replace(" [NAME]", "")
    time = rest.pop(0) if "[TIME]" in usage and rest and rest[0][:1].isdigit() else None
    name = rest.pop(0) if "[NAME]" in usage and rest else None
    if rest or (name or "").startswith("-"):
        raise BadRequest(public=f"This is written 'desk {usage} [--json]'.")
    return Call(word, time, name, "--json" in argv)


#: Seconds that `extend` gives when no time is said, as the button of a warning says none.
_EXTEND = 4 * 3600.0

#: Seconds by which a step has to come before the end of a keep to be worth a word.
_SOON = 60.0

#: Seconds that an answer has to get out before what it announced ends the connection under it.
_ANSWER_FIRST = 1.0


class Words:
    """Answers each word for a proven person, or for a desktop; starts nothing but what the word
    asks for.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        accounts: Accounts,
        authentication: Authentication,
        presence: Presence,
        watches: Watches,
        reaper: Reaper,
        explainer: why.Explainer,
        policies: Policies,
        spawn: Spawn,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._accounts = accounts
        self._authentication = authentication
        self._presence = presence
        self._watches = watches
        self._reaper = reaper
        self._explainer = explainer
        self._policies = policies
        self._spawn = spawn
        self._clock = clock

    async def answer(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        """Of a person, by the front door."""

        async def caller() -> Caller:
            user = await self._authentication.still(identity)
            return Caller(user, identity.desktop or DEFAULT_DESKTOP)

        words = ENROLLING if identity.enrol else frozenset(WORDS)
        return await self._answer(caller, argv, inside=False, words=words)

    async def answer_inside(self, session_id: SessionId, argv: Sequence[str]) -> WordReply:
        """Of whatever runs in a desktop: it speaks for that desktop alone."""

        async def caller() -> Caller:
            session = await self._store.session(session_id)
            desktop = await self._store.desktop(session.desktop_id) if session else None
            user = await self._store.user_by_id(desktop.user_id) if desktop else None
            if session is None or not session.live or desktop is None or user is None:
                raise NotFound(public="This desktop is not known any more.")
            return Caller(user, desktop.name, inside=True)

        return await self._answer(caller, argv, inside=True, words=INSIDE)

    async def _answer(
        self,
        find: Callable[[], Awaitable[Caller]],
        argv: Sequence[str],
        *,
        inside: bool,
        words: frozenset[str],
    ) -> WordReply:
        as_json = "--json" in argv
        try:
            call = parse(argv, inside=inside)
            if call.word not in words:
                raise AccessDenied(public=ENROL_FIRST)
            facts = await self._say(call.word)(await find(), call)
        except DeskError as error:
            return _refusal(error, as_json=as_json)
        text = json.dumps(facts.data) if call.as_json else facts.text
        return WordReply(stdout=text + "\n", stderr="", status=0)

    def _say(self, word: str) -> Callable[[Caller, Call], Awaitable[Facts]]:
        return {
            "help": self._help,
            "list": self._list,
            "status": self._status,
            "why": self._why,
            "start": self._start,
            "stop": self._stop,
            "extend": self._extend,
            "keep": self._keep,
            "sleep": self._sleep,
        }[word]

    async def _help(self, caller: Caller, _call: Call) -> Facts:
        said = {w: told for w, told in WORDS.items() if not caller.inside or w in INSIDE}
        lines = [f"  desk {usage:<20} {meaning}" for usage, meaning in said.values()]
        text = "\n".join(["Words of the broker; each takes --json:", *lines])
        return Facts({word: meaning for word, (_, meaning) in said.items()}, text)

    async def _list(self, caller: Caller, _call: Call) -> Facts:
        desktops = await self._store.desktops(user_id=caller.user.id)
        found = [await self._facts(desktop) for desktop in desktops]
        if not found:
            return Facts(
                [], f"You have no desktop yet; the first connect makes '{DEFAULT_DESKTOP}'."
            )
        rows: list[tuple[str, ...]] = [("NAME", "STATE", "DISPLAY", "ATTACHED")]
        rows += [
            (str(f["name"]), str(f["state"]), str(f["display"] or "-"), str(f["attached"]))
            for f in found
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        return Facts(found, "\n".join(lines))

    async def _status(self, caller: Caller, call: Call) -> Facts:
        return _in_full(await self._facts(await self._named(caller, call)))

    async def _why(self, caller: Caller, call: Call) -> Facts:
        found = await self._explainer.why(await self._named(caller, call))
        return Facts(why.data(found), why.text(found))

    async def _start(self, caller: Caller, call: Call) -> Facts:
        name = call.name or caller.desktop
        desktop = await self._accounts.desktop_for(caller.user, name, actor=caller.actor)
        await self._sessions.ensure(desktop, actor=caller.actor)
        facts = await self._facts(desktop)
        return Facts(facts, f"{desktop.name} is ready on display {facts['display']}.")

    async def _stop(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        session = await self._store.live_session(desktop.id)
        if session is None:
            return Facts(await self._facts(desktop), f"{desktop.name} is not running.")

        async def stop() -> None:
            await self._sessions.stop(
                session.id, reason=f"{caller.user.name} stopped it", actor=caller.actor
            )

        if caller.inside:
            self._later(stop)
            return Facts(await self._facts(desktop), f"{desktop.name} is being stopped.")
        await stop()
        return Facts(await self._facts(desktop), f"{desktop.name} is stopped; its home is kept.")

    async def _extend(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        policy = await self._idle(desktop)
        if call.time is None:
            return await self._kept(caller, desktop, min(_EXTEND, policy.keep_up_to))
        return await self._kept(caller, desktop, keeping.seconds(call.time, policy))

    async def _keep(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        return await self._kept(caller, desktop, (await self._idle(desktop)).keep_up_to)

    async def _kept(self, caller: Caller, desktop: Desktop, seconds: float) -> Facts:
        await self._reaper.keep(await self._watch(desktop), seconds, actor=caller.actor)
        found = await self._explainer.why(desktop)
        if not seconds:
            return Facts(why.data(found), f"{desktop.name} is no longer kept awake.")
        told = f"{desktop.name} is kept awake for {spoken(seconds)}."
        if found.verdict is not None and found.verdict.due < seconds - _SOON:
            told = "\n".join([told, *why.next_step(found)])  # its age is not put off by that
        return Facts(why.data(found), told)

    async def _sleep(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        watch = await self._watch(desktop)
        if watch.frozen is not None:
            return Facts(await self._facts(desktop), f"{desktop.name} sleeps already.")

        async def freeze() -> None:
            await self._reaper.freeze(watch, still=_always, by=caller.user.name)

        if caller.inside:
            self._later(freeze)
            return Facts(await self._facts(desktop), f"{desktop.name} goes to sleep.")
        await freeze()
        facts = await self._facts(desktop)
        if facts["state"] != SessionState.FROZEN:
            raise Conflict(public=f"{desktop.name} is wanted by somebody just now. Try again.")
        return Facts(facts, f"{desktop.name} sleeps; the next connect wakes it.")

    def _later(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do what would end the very connection by which it was asked, once the answer is out."""

        async def do() -> None:
            await self._clock.sleep(_ANSWER_FIRST)
            try:
                await work()
            except DeskError as error:
                log.warning("a word was not done", code=error.code, reason=str(error))

        self._spawn(do(), name="word")

    async def _watch(self, desktop: Desktop) -> Watch:
        session = await self._store.live_session(desktop.id)
        return keeping.watched(
            session,
            named=desktop.name,
            policy=await self._idle(desktop),
            watches=self._watches,
        )

    async def _idle(self, desktop: Desktop) -> IdlePolicy:
        return (await self._policies.of(desktop.user_id)).policy.idle

    async def _named(self, caller: Caller, call: Call) -> Desktop:
        name = desktop_name(call.name or caller.desktop)
        desktop = await self._store.desktop_of(caller.user.id, name)
        if desktop is None:
            raise NotFound(
                public=f"You have no desktop {shown(name)}; 'desk list' shows what you have."
            )
        return desktop

    async def _facts(self, desktop: Desktop) -> dict[str, str | int | None]:
        session = await self._store.live_session(desktop.id)
        return _facts(desktop, session, self._presence.counts()[session.id] if session else 0)


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Facts:
    """One answer in both its forms."""

    data: object
    text: str


def _facts(desktop: Desktop, session: Session | None, attached: int) -> dict[str, str | int | None]:
    archive = desktop.archive if session is None else None
    unused = "archived" if archive else "stopped"
    return {
        "name": desktop.name,
        "id": desktop.id,
        "state": session.state.value if session else unused,
        "display": f":{session.display}" if session else None,
        "since": session.changed_at.isoformat(timespec="seconds") if session else None,
        "attached": attached,
        **why.archived(archive),
    }


def _in_full(facts: dict[str, str | int | None]) -> Facts:
    told = {key: value for key, value in facts.items() if not key.startswith("archive")}
    if facts["archived_at"] is not None:
        told["archived"] = f"{facts['archived_at']}, {spoken_size(int(facts['archive_size'] or 0))}"
    lines = [f"{key:<9} {value}" for key, value in told.items() if value is not None]
    return Facts(facts, "\n".join(lines))


def _refusal(error: DeskError, *, as_json: bool) -> WordReply:
    status = _USAGE_STATUS if isinstance(error, BadRequest) else _REFUSED_STATUS
    if as_json:
        problem = json.dumps({"error": error.code, "detail": error.public})
        return WordReply(stdout=problem + "\n", stderr="", status=status)
    return WordReply(stdout="", stderr=f"desk: {error.told}\n", status=status)
