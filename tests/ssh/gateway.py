"""A gateway that answers from tables, for the process that holds the door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from broker.core import errors
from broker.core.gateway import (
    Activity,
    Allowance,
    Attachment,
    Endpoint,
    HttpReply,
    Identity,
    Load,
    Login,
    OfferedKey,
    Penalty,
    Route,
    WordReply,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class StaticGateway:
    """Keys, users and what happens when a user's desktop is asked for; remembers every call."""

    def __init__(self, inner: dict[str, Any]) -> None:
        self.inner = inner
        self.keys: dict[str, str] = {}
        self.plans: dict[str, dict[str, Any]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.calls: list[dict[str, Any]] = []
        self.reported = 0
        self.present: list[str] = []
        self.seen: dict[str, dict[str, Any]] = {}

    def add(self, user: str, fingerprints: list[str]) -> None:
        self.plans[user] = {}
        self.keys.update(dict.fromkeys(fingerprints, user))

    def plan(self, user: str, **changes: Any) -> None:
        """What `route` does for the user: `gate` (a name to wait for), `progress` (one sentence or
        several), `error`, `endpoints`, `lost_once`, `session`.
        """
        self.plans[user].update(changes)

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    def _note(self, call: str, user: str, **facts: Any) -> None:
        self.calls.append({"call": call, "user": user, **facts})

    # ------------------------------------------------------------------------- the protocol

    async def identify(self, login: Login, key: OfferedKey, address: str) -> Identity | None:
        await asyncio.sleep(0)
        if login.invite is not None:
            return None
        owner = self.keys.get(key.fingerprint)
        if owner is None or login.user not in {None, owner}:
            return None
        return Identity(
            user_id=f"id-{owner}",
            user=owner,
            desktop=login.desktop,
            credential=key.fingerprint,
            method="key",
            address=address,
            allowed=tuple(Allowance),
        )

    async def redeem(self, login: Login, key: OfferedKey, address: str) -> None:
        """There are no invites."""

    async def check_password(self, login: Login, password: str, address: str) -> None:
        """Nobody has one."""

    async def check_code(self, ticket: str, code: str, address: str) -> None:
        """Nobody is asked for one."""

    async def proven(self, identity: Identity) -> None:
        """Who came is in the door's own log."""

    async def route(
        self, identity: Identity, *, display: int | None, progress: Callable[[str], None]
    ) -> Route:
        user, plan = identity.user, self.plans[identity.user]
        self._note(
            "route",
            user,
            display=display,
            desktop=identity.desktop,
            credential=identity.credential,
        )
        told = plan.get("progress") or []
        for sentence in [told] if isinstance(told, str) else told:
            progress(sentence)
        if plan.get("gate"):
            try:
                await self.gate(plan["gate"]).wait()
            except asyncio.CancelledError:
                self._note("cancelled", user)
                raise
        if plan.get("error"):
            kind, sentence = plan["error"]
            raise getattr(errors, kind)("for the operator alone", public=sentence)
        endpoints = plan.get("endpoints") or [["127.0.0.1", self.inner["port"]]]
        desktop = identity.desktop or "main"
        self._note("routed", user)
        return Route(
            session_id=plan.get("session", f"session-{user}-{desktop}"),
            desktop_id=f"desktop-{user}-{desktop}",
            desktop=desktop,
            display=1000,
            user=self.inner["user"],
            endpoints=tuple(Endpoint(host, port) for host, port in endpoints),
            host_key=plan.get("host_key", self.inner["host_key"]),
            client_key=self.inner["client_key"],
        )

    async def lost(self, session_id: str) -> None:
        user = session_id.split("-")[1]
        self._note("lost", user, session=session_id)
        if self.plans.get(user, {}).pop("lost_once", False):
            self.plans[user]["endpoints"] = None

    async def word(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        argv = list(argv) or [""]
        self._note("word", identity.user, argv=[word for word in argv if word])
        if argv[0] == "big":
            return WordReply(stdout="x" * int(argv[1]), stderr="", status=3)
        if argv[0] == "wait":
            await self.gate(argv[1]).wait()
        return WordReply(stdout=f"answers: {' '.join(argv)}\n", stderr="a warning\n", status=7)

    async def attached(self, door: str, attachment: Attachment) -> None:
        self._note(
            "attached",
            attachment.user,
            door=door,
            id=attachment.id,
            session=attachment.session_id,
            peer=attachment.peer,
            client=attachment.client,
        )

    async def detached(self, door: str, attachment_id: str) -> None:
        self._note("detached", "", door=door, id=attachment_id)

    async def carries(self, door: str, load: Load) -> None:
        del door, load

    async def report(self, door: str, activities: Sequence[Activity]) -> None:
        """Kept is the last word on each attachment, and how often all were told."""
        self.reported += 1
        self.present = [activity.attachment.id for activity in activities]
        for activity in activities:
            self.seen[activity.attachment.id] = {
                "user": activity.attachment.user,
                "door": door,
                "kinds": list(activity.kinds),
                "ages": {str(signal): age for signal, age in activity.ages.items()},
            }

    async def penalise(self, door: str, penalty: Penalty) -> None:
        self._note("penalise", "", door=door, source=penalty.source, offence=penalty.offence)

    async def http(self, method: str, path: str) -> HttpReply:
        return HttpReply(status=404, content_type="text/plain", body=b"")
