"""Guests before a broker: they come by a link, wait, and go where they are let."""

from __future__ import annotations

import re

ADDRESS = "198.51.100.7"


class Guest:
    """Somebody with a link, and what their cookie holds."""

    def __init__(self, broker, *, address=ADDRESS) -> None:
        self.broker, self.address = broker, address
        self.secret = self.id = self.share_id = None

    async def come(self, link, name="Eve"):
        token = re.search(r"/join#([A-Za-z0-9_-]+)", link)[1]
        guest, share, self.secret = await self.broker.guests.come(token, name, self.address)
        self.id, self.share_id = guest.id, share.id
        return self

    @property
    def credential(self) -> str:
        return f"share:{self.share_id}/{self.id}"

    async def state(self):
        return (await self.broker.guests.of(self.secret))[0].state

    async def reason(self):
        return (await self.broker.guests.of(self.secret))[0].reason

    async def seat(self, **more):
        return await self.broker.gateway.seat(
            self.secret,
            self.address,
            **{"desktop_id": None, "look": False, "wake": True, "progress": lambda _: None, **more},
        )


async def share(broker, identity, *argv):
    """The id and the link of a share that its owner makes by a word."""
    reply = await broker.gateway.word(identity, ["share", *argv])
    assert reply.status == 0, reply
    link = reply.stdout.split()[0]
    return re.search(r"share end ([0-9a-f]+)", reply.stdout)[1], link
