"""What people say of their browsers: a link that signs one in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied, NotFound
from broker.core.model import desktop_name, shown
from broker.service.links import VALID
from broker.service.vocabulary import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.interfaces import Store
    from broker.service.desktop_words import Say
    from broker.service.links import Links
    from broker.service.vocabulary import Call, Caller


class BrowserWords:
    """Answers whoever is proven, never what runs in a desktop."""

    def __init__(self, *, store: Store, links: Links) -> None:
        self._store = store
        self._links = links

    def answers(self) -> Mapping[str, Say]:
        return {"web": self.web}

    async def web(self, caller: Caller, call: Call) -> Facts:
        if caller.identity is None:
            raise AccessDenied("a desktop asked for its owner's browser")
        desktop_id, name = None, call.name or caller.identity.desktop
        if name is not None:
            desktop = await self._store.desktop_of(caller.user.id, desktop_name(name))
            if desktop is None:
                raise NotFound(public=f"You have no desktop {shown(name)}.")
            desktop_id = desktop.id
        link = await self._links.make(caller.identity, caller.user, desktop_id=desktop_id)
        told = f"{link}\nOpen this in a browser within {VALID:.0f} seconds; it works once."
        return Facts({"url": link, "seconds": VALID}, told)
