"""Admins who look at the desktop of somebody else: by consent, or with a word to whoever is there."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied, CapacityExhausted
from broker.core.model import new_id
from broker.core.shares import Looks
from broker.service.guests import ANSWER_WITHIN
from broker.service.identities import actor_of
from broker.service.inside import Notice, Question
from broker.system.tasks import first_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.gateway import Identity
    from broker.core.interfaces import Clock, Store
    from broker.core.model import Desktop, DesktopId, Session
    from broker.service.inside import Inside
    from broker.service.policies import Policies

#: Questions of admins that wait for an answer at a time.
WAITING = 32

#: Seconds for which an answer is good: whose network broke does not ask again.
GOOD_FOR = 900.0

#: Answers that are remembered.
_MOST = 1024

#: Seconds that a notice stays.
_SHOWN = 60.0

_NEVER = "Nobody looks at the desktops of others here: the policy says so."
_REFUSED = "Whoever is in this desktop did not let you look."
_SILENT = "Nobody answered whether you may look. Try again."
_NOBODY_THERE = "Nobody is there who could say whether you may look."


@dataclass(slots=True)
class _Asked:
    desktop_id: DesktopId
    answer: asyncio.Future[bool]


class Looking:
    """Keeps questions and answers in memory: an admin whose broker restarts asks again."""

    def __init__(self, *, store: Store, policies: Policies, inside: Inside, clock: Clock) -> None:
        self._store = store
        self._policies = policies
        self._inside = inside
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._good: OrderedDict[tuple[str, str], float] = OrderedDict()
        """Until when who may look at which session, in monotonic time."""

    async def admit(
        self,
        identity: Identity,
        desktop: Desktop,
        session: Session,
        progress: Callable[[str], None],
    ) -> None:
        """Let the admin look at the session, by the policy of the desktop's owner. Each look, and
        each that was refused, is audited. Raises `AccessDenied` with the reason, `CapacityExhausted`.
        """
        policy = (await self._policies.of(desktop.user_id)).policy
        which = (identity.credential, session.id)
        if policy.looks is Looks.NEVER:
            raise AccessDenied(public=_NEVER)
        if policy.looks is Looks.TELL:
            told = Notice(
                "An admin looks at this desktop",
                f"{identity.user} looks at this desktop now.",
                extend=False,
                lasts=_SHOWN,
            )
            seen = await self._inside.tell(session.id, told)
            await self._note(identity, desktop, session, "told" if seen else "nobody there")
            return
        if self._good.get(which, 0.0) > self._clock.monotonic():
            await self._note(identity, desktop, session, "let in before")
            return
        why = await self._ask(identity, desktop, session, progress)
        await self._note(identity, desktop, session, "let in" if why is None else "not let in")
        if why is not None:
            raise AccessDenied(public=why)
        self._good[which] = self._clock.monotonic() + GOOD_FOR
        self._good.move_to_end(which)
        if len(self._good) > _MOST:
            self._good.popitem(last=False)

    async def _ask(
        self,
        identity: Identity,
        desktop: Desktop,
        session: Session,
        progress: Callable[[str], None],
    ) -> str | None:
        """Why not; None: they were let in."""
        if len(self._asked) >= WAITING:
            raise CapacityExhausted(f"{WAITING} admins ask whether they may look")
        until = self._clock.monotonic() + ANSWER_WITHIN
        look_id = new_id()
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[look_id] = _Asked(desktop.id, answer)
        try:
            progress("Whoever is in the desktop is asked whether you may look.")
            asked = await self._inside.ask(session.id, _question(look_id, identity))
            left = self._clock.sleep(until - self._clock.monotonic())
            await first_of(asyncio.wait({answer}), left)
        finally:
            del self._asked[look_id]
        if not answer.done():
            return _SILENT if asked else _NOBODY_THERE
        return None if answer.result() else _REFUSED

    def decide(self, look_id: str, desktop_id: DesktopId, *, let_in: bool) -> bool:
        """What whoever is in that desktop says; whether there was such a question of it."""
        asked = self._asked.get(look_id)
        if asked is None or asked.desktop_id != desktop_id or asked.answer.done():
            return False
        asked.answer.set_result(let_in)
        return True

    async def _note(
        self, identity: Identity, desktop: Desktop, session: Session, result: str
    ) -> None:
        owner = await self._store.user_by_id(desktop.user_id)
        await self._store.note(
            actor=actor_of(identity),
            action="session.look",
            subject=session.id,
            detail={
                "user": owner.name if owner else None,
                "desktop": desktop.id,
                "result": result,
            },
        )


def _question(look_id: str, identity: Identity) -> Question:
    return Question(
        title="An admin asks to look",
        text=f"The admin {identity.user}, from {identity.address}, asks to look at this desktop.",
        about=look_id,
        lasts=ANSWER_WITHIN,
    )
