"""A gateway with fixed answers, for a door in front of one sshd."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from broker.core.gateway import Allowance, HttpReply, Identity, Route, WordReply


@dataclass
class StaticGateway:
    """Everybody in `keys` (fingerprint to user) has the one desktop of `route`."""

    keys: dict[str, str]
    route_: Route | None = None
    displays: dict = field(default_factory=dict)
    """Routes of other desktops by their display."""
    delay: float = 0.0
    sentence: str | None = None
    refusal: Exception | None = None
    asked: list = field(default_factory=list)
    events: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    loads: list = field(default_factory=list)
    logins: list = field(default_factory=list)

    async def identify(self, login, key, address):
        self.asked.append((login, key))
        if login.invite is not None:
            return None
        user = self.keys.get(key.fingerprint)
        if user is None or login.user not in (None, user):
            return None
        return Identity(
            user_id=f"id-{user}",
            user=user,
            desktop=login.desktop,
            credential=key.fingerprint,
            method="key",
            address=address,
            allowed=tuple(Allowance),
        )

    async def redeem(self, login, key, address):
        return None

    async def check_password(self, login, password, address):
        return None

    async def check_code(self, ticket, code, address):
        return None

    async def proven(self, identity):
        self.logins.append(identity)

    async def route(self, identity, *, display, progress):
        self.events.append(("route", identity.user, display))
        if self.sentence:
            progress(self.sentence)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.refusal:
            raise self.refusal
        return self.displays.get(display, self.route_)

    async def lost(self, session_id):
        self.events.append(("lost", session_id))

    async def word(self, identity, argv):
        self.events.append(("word", *argv))
        if argv[:1] == ["big"] or argv[:1] == ("big",):
            return WordReply(stdout="x" * int(argv[1]), stderr="", status=3)
        said = " ".join(["desk", *argv])
        return WordReply(stdout=f"door says: {said}\n", stderr="warn\n", status=7)

    async def attached(self, door, attachment):
        self.events.append(("attached", attachment.session_id))

    async def detached(self, door, attachment_id):
        self.events.append(("detached",))

    async def carries(self, door, load):
        self.loads.append((door, load))

    async def report(self, door, activities):
        self.reports.append((door, list(activities)))

    async def penalise(self, door, penalty):
        self.events.append(("penalise", penalty.source))

    async def http(self, method, path):
        return HttpReply(status=404, content_type="text/plain", body=b"")
