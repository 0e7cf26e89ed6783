"""What people say of showing their desktops, and what is said in a desktop of who may come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied, NotFound
from broker.core.model import desktop_name, shown
from broker.core.shares import GuestState, Mode
from broker.core.words import spoken
from broker.service.shares import VALID
from broker.service.validity import period
from broker.service.vocabulary import Facts, listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.interfaces import Store
    from broker.core.model import Desktop
    from broker.core.shares import Guest, Share
    from broker.service.desktop_words import Say
    from broker.service.guests import Guests
    from broker.service.looking import Looking
    from broker.service.shares import Shares
    from broker.service.vocabulary import Call, Caller

_HERE = (GuestState.ASKED, GuestState.IN)


class ShareWords:
    """Of one's own desktops; of what runs in a desktop, of that one alone, and nothing new."""

    def __init__(self, *, store: Store, shares: Shares, guests: Guests, looking: Looking) -> None:
        self._store = store
        self._shares = shares
        self._guests = guests
        self._looking = looking

    def answers(self) -> Mapping[str, Say]:
        return {
            "share": self.share,
            "share ls": self.show,
            "share end": self.end,
            "share let-in": self.let_in,
            "share refuse": self.refuse,
        }

    async def share(self, caller: Caller, call: Call) -> Facts:
        if caller.identity is None:
            raise AccessDenied("a desktop wanted to be shared")
        desktop = await self._desktop(caller, call.name or caller.desktop)
        mode = Mode(call.mode or Mode.LOOK)
        seconds = period(call.time)
        share, link = await self._shares.make(
            desktop,
            mode=mode,
            valid=seconds,
            allowed=caller.identity.allowed,
            actor=caller.actor,
        )
        wish = "look on" if mode is Mode.LOOK else "look on and take part"
        told = (
            f"{link}\nWhoever opens this within {spoken(VALID if seconds is None else seconds)} can"
            f" ask to {wish}; you are asked about each. 'desk share end {share.id}' ends it."
        )
        return Facts({**_share(share, desktop), "link": link}, told)

    async def show(self, caller: Caller, _call: Call) -> Facts:
        desktops = {desktop.id: desktop for desktop in await self._desktops(caller)}
        shares = [
            share
            for share in await self._shares.all(user_id=caller.user.id)
            if share.desktop_id in desktops
        ]
        if not shares:
            return Facts([], "Nothing is shared now.")
        rows: list[tuple[str, ...]] = [("ID", "DESKTOP", "WHAT", "TIME", "WHO")]
        for share in shares:
            name = desktops[share.desktop_id].name
            rows.append(
                (share.id, name, f"share {share.mode}", f"until {_time(share.expires_at)}", "-")
            )
            rows += [
                (one.id, name, one.state.value, f"since {_time(one.since)}", _who(one))
                for one in share.guests
                if one.state in _HERE
            ]
        found = [_share(share, desktops[share.desktop_id]) for share in shares]
        return Facts(found, listed(rows))

    async def end(self, caller: Caller, call: Call) -> Facts:
        """A share, or one guest's part in it."""
        (which,) = call.said
        share = await self._store.share(which)
        if share is not None and await self._is_of(share, caller):
            await self._shares.end(share.id, actor=caller.actor)
            return Facts({"share": share.id, "ended": True}, "The share is ended.")
        guest = await self._guest(caller, which)
        gone = await self._guests.end(guest, actor=caller.actor)
        return Facts(_guest(gone), f"{shown(gone.name)} is sent away.")

    async def let_in(self, caller: Caller, call: Call) -> Facts:
        (which,) = call.said
        if await self._decided(caller, which, let_in=True):
            return Facts({"id": which, "state": "in"}, "They may look.")
        guest = await self._guests.let_in(await self._guest(caller, which), actor=caller.actor)
        return Facts(_guest(guest), f"{shown(guest.name)} is let in.")

    async def refuse(self, caller: Caller, call: Call) -> Facts:
        (which,) = call.said
        if await self._decided(caller, which, let_in=False):
            return Facts({"id": which, "state": "refused"}, "They may not look.")
        guest = await self._guests.refuse(await self._guest(caller, which), actor=caller.actor)
        return Facts(_guest(guest), f"{shown(guest.name)} is not let in.")

    async def _decided(self, caller: Caller, which: str, *, let_in: bool) -> bool:
        """Whether it was an admin who asked to look."""
        desktops = await self._desktops(caller)
        return any(self._looking.decide(which, one.id, let_in=let_in) for one in desktops)

    async def _guest(self, caller: Caller, which: str) -> Guest:
        """Raises `NotFound`."""
        found = await self._store.guest(which)
        if found is None or not await self._is_of(found[1], caller):
            raise NotFound(
                public=f"There is no share and no guest {shown(which)} here; 'desk share ls' shows"
                " those that are."
            )
        return found[0]

    async def _is_of(self, share: Share, caller: Caller) -> bool:
        if share.user_id != caller.user.id:
            return False
        return not caller.inside or share.desktop_id in {d.id for d in await self._desktops(caller)}

    async def _desktops(self, caller: Caller) -> list[Desktop]:
        """Those that the caller speaks of."""
        if caller.inside:
            return [await self._desktop(caller, caller.desktop)]
        return [*await self._store.desktops(user_id=caller.user.id)]

    async def _desktop(self, caller: Caller, name: str) -> Desktop:
        desktop = await self._store.desktop_of(caller.user.id, desktop_name(name))
        if desktop is None:
            raise NotFound(
                public=f"You have no desktop {shown(name)}; 'desk list' shows what you have."
            )
        return desktop


def _share(share: Share, desktop: Desktop) -> dict[str, object]:
    return {
        "id": share.id,
        "desktop": desktop.name,
        "mode": share.mode.value,
        "expires_at": _time(share.expires_at),
        "guests": [_guest(one) for one in share.guests],
    }


def _guest(guest: Guest) -> dict[str, object]:
    return {
        "id": guest.id,
        "name": guest.name,
        "address": guest.address,
        "state": guest.state.value,
        "since": _time(guest.since),
    }


def _who(guest: Guest) -> str:
    return f"{shown(guest.name)} from {guest.address}"


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")
