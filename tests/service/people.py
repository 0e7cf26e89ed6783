"""People with passwords and authenticators, and what the broker's authentication makes of them."""

from __future__ import annotations

from datetime import timedelta

import pyotp

from broker.core.gateway import CodeWanted, Identity, Login
from tests.service.harness import new_key

HOME, ABROAD = "192.0.2.7", "198.51.100.9"
PASSWORD = "correct horse battery"


class Person:
    """A user, their password and what makes their codes."""

    def __init__(self, broker, user) -> None:
        self.broker, self.user, self.secret = broker, user, None
        self.recovery = []

    @property
    def name(self) -> str:
        return self.user.name

    @classmethod
    async def make(cls, broker, name="ada", *, password=PASSWORD):
        person = cls(broker, await broker.user(name))
        if password is not None:
            await broker.accounts.set_password(name, password, actor="uid:0")
        return person

    def at(self, broker) -> Person:
        """The same person before another broker."""
        other = Person(broker, self.user)
        other.secret, other.recovery = self.secret, self.recovery
        return other

    async def enrol(self) -> Person:
        """Set up codes; the code that confirmed is used up, and time goes on behind it."""
        enrolment = await self.broker.codes.begin(self.user, actor="user:ada")
        self.secret = enrolment.secret.replace(" ", "")
        self.recovery = await self.broker.codes.confirm(self.user, self.code(), actor="user:ada")
        self.broker.clock.advance(60)
        return self

    def code(self, steps: int = 0) -> str:
        at = self.broker.clock.now() + timedelta(seconds=30 * steps)
        return pyotp.TOTP(self.secret).at(at)

    async def key(self, **limits):
        """A key of theirs, as a client offers it."""
        offered, _ = new_key()
        await self.broker.store.add_key(
            self.user.id,
            fingerprint=offered.fingerprint,
            public=offered.public,
            name=offered.fingerprint[7:20],
            actor="uid:0",
            **limits,
        )
        return offered

    async def ways(self, *ways, **policy) -> None:
        """What their group says of logins, and of more with a dot for `__`."""
        said = {key.replace("__", "."): value for key, value in policy.items()}
        if ways:
            said["login.ways"] = list(ways)
        await self.broker.groups.set("g", priority=0, policy=said, actor="uid:0")
        await self.broker.groups.join(self.user, "g", actor="uid:0")

    async def identify(self, key, address=HOME, *, login=None):
        found = login or Login(None, None)
        return await self.broker.authentication.identify(found, key, address)

    async def type(self, password=PASSWORD, address=ABROAD, *, name=None):
        """The outcome of a password."""
        login = Login(name or self.name, None)
        return await self.broker.authentication.check_password(login, password, address)

    async def show(self, wanted, code, address=ABROAD):
        """The outcome of a code."""
        assert isinstance(wanted, CodeWanted)
        return await self.broker.authentication.check_code(wanted.ticket, code, address)

    async def fail(self, times=5, address=ABROAD, *, name=None) -> None:
        for _ in range(times):
            assert await self.type("wrong", address, name=name) is None


def outcome(found) -> str:
    """In one word."""
    if isinstance(found, CodeWanted):
        return "code"
    if isinstance(found, Identity):
        return "enrol" if found.enrol else "in"
    return "nobody" if found is None else type(found).__name__
