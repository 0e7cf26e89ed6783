"""The broker's own words, `ssh desk@host desk …`: answered in plain text, or with `--json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.errors import BadRequest, DeskError, NotFound
from broker.core.gateway import WordReply
from broker.core.model import DEFAULT_DESKTOP, desktop_name, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.gateway import Identity
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session, User
    from broker.service.accounts import Accounts
    from broker.service.presence import Presence
    from broker.service.sessions import Sessions

#: Each word, how it is written and what it does; `docs/commands.md` names them all.
WORDS: dict[str, tuple[str, str]] = {
    "help": ("help", "show these words"),
    "list": ("list", "your desktops and what they do now"),
    "status": ("status [NAME]", "one desktop in full"),
    "start": ("start [NAME]", "start a desktop; a new NAME makes one"),
    "stop": ("stop [NAME]", "stop a desktop; its home stays"),
}

_USAGE_STATUS, _REFUSED_STATUS = 2, 1


@dataclass(frozen=True, slots=True)
class Call:
    """A word as it was said."""

    word: str
    name: str | None
    as_json: bool


def parse(argv: Sequence[str]) -> Call:
    """Raises `BadRequest` with what is allowed."""
    plain = [part for part in argv if part not in {"--json", "--help", "-h"}]
    word = plain[0] if plain else "help"
    if "--help" in argv or "-h" in argv:
        word, plain = "help", []
    if word not in WORDS:
        allowed = ", ".join(WORDS)
        raise BadRequest(public=f"{shown(word)} is no word of Desk; there are {allowed}.")
    takes = 1 + ("[NAME]" in WORDS[word][0])
    if len(plain) > takes or (len(plain) > 1 and plain[1].startswith("-")):
        raise BadRequest(public=f"This is written 'desk {WORDS[word][0]} [--json]'.")
    return Call(word, plain[1] if len(plain) > 1 else None, "--json" in argv)


class Words:
    """Answers each word for a proven person; starts nothing but what the word asks for."""

    def __init__(
        self, *, store: Store, sessions: Sessions, accounts: Accounts, presence: Presence
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._accounts = accounts
        self._presence = presence

    async def answer(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        as_json = "--json" in argv
        try:
            call = parse(argv)
            user = await self._accounts.proven(identity)
            facts = await self._say(call.word)(user, identity, call)
        except DeskError as error:
            return _refusal(error, as_json=as_json)
        text = json.dumps(facts.data) if call.as_json else facts.text
        return WordReply(stdout=text + "\n", stderr="", status=0)

    def _say(self, word: str) -> Callable[[User, Identity, Call], Awaitable[Facts]]:
        return {
            "help": self._help,
            "list": self._list,
            "status": self._status,
            "start": self._start,
            "stop": self._stop,
        }[word]

    async def _help(self, _user: User, _identity: Identity, _call: Call) -> Facts:
        lines = [f"  desk {usage:<16} {meaning}" for usage, meaning in WORDS.values()]
        text = "\n".join(["Words of the broker; each takes --json:", *lines])
        return Facts({word: meaning for word, (_, meaning) in WORDS.items()}, text)

    async def _list(self, user: User, _identity: Identity, _call: Call) -> Facts:
        desktops = await self._store.desktops(user_id=user.id)
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

    async def _status(self, user: User, identity: Identity, call: Call) -> Facts:
        return _in_full(await self._facts(await self._named(user, identity, call)))

    async def _start(self, user: User, identity: Identity, call: Call) -> Facts:
        name = call.name or identity.desktop or DEFAULT_DESKTOP
        actor = f"user:{user.name}"
        desktop = await self._accounts.desktop_for(user, name, actor=actor)
        await self._sessions.ensure(desktop, actor=actor)
        facts = await self._facts(desktop)
        return Facts(facts, f"{desktop.name} is ready on display {facts['display']}.")

    async def _stop(self, user: User, identity: Identity, call: Call) -> Facts:
        desktop = await self._named(user, identity, call)
        session = await self._store.live_session(desktop.id)
        if session is None:
            return Facts(await self._facts(desktop), f"{desktop.name} is not running.")
        actor = f"user:{user.name}"
        await self._sessions.stop(session.id, reason=f"{user.name} stopped it", actor=actor)
        return Facts(await self._facts(desktop), f"{desktop.name} is stopped; its home is kept.")

    async def _named(self, user: User, identity: Identity, call: Call) -> Desktop:
        name = desktop_name(call.name or identity.desktop or DEFAULT_DESKTOP)
        desktop = await self._store.desktop_of(user.id, name)
        if desktop is None:
            raise NotFound(
                public=f"You have no desktop {shown(name)}; 'desk list' shows what you have."
            )
        return desktop

    async def _facts(self, desktop: Desktop) -> dict[str, str | int | None]:
        session = await self._store.live_session(desktop.id)
        return _facts(desktop, session, self._presence.counts()[session.id] if session else 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """One answer in both its forms."""

    data: object
    text: str


def _facts(desktop: Desktop, session: Session | None, attached: int) -> dict[str, str | int | None]:
    return {
        "name": desktop.name,
        "id": desktop.id,
        "state": session.state.value if session else "stopped",
        "display": f":{session.display}" if session else None,
        "since": session.changed_at.isoformat(timespec="seconds") if session else None,
        "attached": attached,
    }


def _in_full(facts: dict[str, str | int | None]) -> Facts:
    lines = [f"{key:<9} {value}" for key, value in facts.items() if value is not None]
    return Facts(facts, "\n".join(lines))


def _refusal(error: DeskError, *, as_json: bool) -> WordReply:
    status = _USAGE_STATUS if isinstance(error, BadRequest) else _REFUSED_STATUS
    if as_json:
        problem = json.dumps({"error": error.code, "detail": error.public})
        return WordReply(stdout=problem + "\n", stderr="", status=status)
    return WordReply(stdout="", stderr=f"desk: {error.told}\n", status=status)
