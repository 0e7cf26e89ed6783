"""Links that sign one browser in, for whoever has proven over SSH who they are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.digest import hashed
from broker.core.errors import AccessDenied, Conflict
from broker.core.gateway import Allowance, Identity
from broker.core.signins import is_secret, new_secret
from broker.service.identities import actor_of
from broker.service.signins import NO_BROWSER

if TYPE_CHECKING:
    from broker.core.interfaces import Clock, Store
    from broker.core.model import User
    from broker.service.credentials import Credentials
    from broker.service.policies import Policies
    from broker.service.signins import SignIns

#: Seconds for which a link is good, and how many of one user are at a time.
VALID, MOST = 60.0, 8


class Links:
    """A link is used once. Its token is told where it is made, and kept nowhere."""

    def __init__(
        self,
        *,
        store: Store,
        sign_ins: SignIns,
        credentials: Credentials,
        policies: Policies,
        clock: Clock,
        url: str | None,
    ) -> None:
        """`url` is where browsers find the pages; None: nobody knows."""
        self._store = store
        self._sign_ins = sign_ins
        self._credentials = credentials
        self._policies = policies
        self._clock = clock
        self._url = url

    async def make(self, identity: Identity, user: User, *, desktop_id: str | None) -> str:
        """The link of somebody proven, to that desktop of theirs or to their page. Raises
        `AccessDenied` where they may not use a browser, `Conflict` where it would lead nowhere.
        """
        if Allowance.BROWSER not in identity.allowed:
            raise AccessDenied(f"{user.name} may not use a browser", public=NO_BROWSER)
        if self._url is None:
            raise Conflict(
                public="Where browsers find this Desk is not configured: 'web.url' is to say it."
            )
        token = new_secret()
        await self._store.add_link(
            user.id,
            token_hash=hashed(token),
            proven=await self._sign_ins.proven(identity, user),
            expires_at=self._clock.now() + timedelta(seconds=VALID),
            most=MOST,
            actor=actor_of(identity),
        )
        # Behind the '#': no browser sends that to anybody, and no log of a proxy has it.
        there = "" if desktop_id is None else f"&desktop={desktop_id}"
        return f"{self._url}/#link={token}{there}"

    async def take(self, token: str, address: str) -> Identity | None:
        """Whom the link signs in, used up by that; None for one that does not count."""
        if not is_secret(token):
            return None
        found = await self._store.take_link(hashed(token), origin=address)
        if found is None:
            return None
        proven, user = found
        held = await self._credentials.holder(user.name, user.id, proven.credential, address)
        if held is None:
            return None
        allowed = (await self._policies.of(user.id)).policy.allowed
        return Identity(
            user_id=user.id,
            user=user.name,
            desktop=None,
            credential=proven.credential,
            method=proven.method,
            address=address,
            allowed=proven.allows(each for each in Allowance if each in allowed),
        )
