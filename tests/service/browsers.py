"""People with a browser before a broker: signed in by a password, by a link, and at their desktops."""

from __future__ import annotations

import re

from broker.core.gateway import CodeWanted
from tests.service.people import ABROAD, PASSWORD, Person

FIREFOX = "Firefox 140"


class Browser:
    """A person's browser, with what its cookie holds."""

    def __init__(self, person: Person, *, address: str = ABROAD) -> None:
        self.person, self.broker, self.address = person, person.broker, address
        self.secret = None
        self.id = None

    @classmethod
    async def signed_in(cls, broker, name="ada", **more):
        """By a password, its person made for that."""
        browser = cls(await Person.make(broker, name), **more)
        assert await browser.type() is not None
        return browser

    @property
    def credential(self) -> str:
        return f"web:{self.id}"

    def _take(self, entered):
        if isinstance(entered, CodeWanted):
            return entered
        self.secret, self.id = entered.secret, entered.sign_in.id
        return entered

    async def type(self, password=PASSWORD, *, name=None):
        """A password: what comes of it, and the cookie of whoever it lets in."""
        return self._take(
            await self.broker.entry.by_password(
                name or self.person.name, password, address=self.address, browser=FIREFOX
            )
        )

    async def show(self, wanted, code):
        return self._take(
            await self.broker.entry.by_code(
                wanted.ticket, code, address=self.address, browser=FIREFOX
            )
        )

    async def follow(self, link):
        """The link that `desk web` gave."""
        token = re.search(r"#link=([A-Za-z0-9_-]+)", link)[1]
        return self._take(
            await self.broker.entry.by_link(token, address=self.address, browser=FIREFOX)
        )

    async def caller(self):
        return await self.broker.sign_ins.caller(self.secret, self.address)

    async def seat(self, desktop_id, *, wake=True, look=False):
        self.said = []
        return await self.broker.gateway.seat(
            self.secret,
            self.address,
            desktop_id=desktop_id,
            look=look,
            wake=wake,
            progress=self.said.append,
        )
