"""What an admin does to users, keys and desktops."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from broker.core.authorized_keys import parse_line
from broker.core.errors import BadRequest, Conflict, DeskError, NotFound
from broker.core.model import (
    LOCAL,
    DesktopId,
    desktop_name,
    free_key_name,
    key_name,
    shown,
    user_name,
)
from broker.core.spec import home_volume
from broker.service.authentication import TAKEN_AWAY
from broker.service.identities import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from broker.core.authorized_keys import ParsedKey
    from broker.core.interfaces import Engine, Store
    from broker.core.model import Actor, Desktop, Key, Password, User, UserId
    from broker.service.archivist import Archivist
    from broker.service.connections import Connections
    from broker.service.host import Host
    from broker.service.passwords import Passwords
    from broker.service.policies import Policies
    from broker.service.sessions import Sessions
    from broker.service.signins import SignIns

    End = Callable[[str], Awaitable[None]]
    """Ends what a credential opened."""

#: The one template there is for now.
TEMPLATE = "default"

#: How often something is stopped again that was started between its stop and its removal.
_AGAIN = 2


class Accounts:
    """Users, their keys and their desktops; every change is one audited transaction."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        sessions: Sessions,
        host: Host,
        connections: Connections,
        archivist: Archivist,
        policies: Policies,
        passwords: Passwords,
        sign_ins: SignIns,
        sources: Collection[str],
    ) -> None:
        """`sources` are the names of the outside ones."""
        self._store = store
        self._engine = engine
        self._sessions = sessions
        self._host = host
        self._connections = connections
        self._archivist = archivist
        self._policies = policies
        self._passwords = passwords
        self._sign_ins = sign_ins
        self._sources = (LOCAL, *sources)
        self._making = asyncio.Lock()

    # -- users and keys
    async def add_user(
        self,
        name: str,
        *,
        admin: bool,
        keys: Sequence[str],
        source: str = LOCAL,
        actor: Actor | str,
    ) -> User:
        """Make a user with keys, each a line of `authorized_keys`, whose password `source` checks;
        when a key cannot be had, no user is left behind. Raises `BadRequest`, `Conflict`.
        """
        if source not in self._sources:
            known = ", ".join(self._sources)
            raise BadRequest(public=f"There is no source {shown(source)}; allowed are {known}.")
        parsed = [parse_line(line) for line in keys]
        for key in parsed:
            if await self._store.key_owner(key.fingerprint) is not None:
                raise Conflict(public=f"The key {key.fingerprint} belongs to a user already.")
        user = await self._store.add_user(user_name(name), admin=admin, source=source, actor=actor)
        try:
            for key in parsed:
                await self._add_key(user.id, key, actor)
        except Conflict:
            await self._store.remove_user(user.id, actor=actor)
            raise
        return user

    async def user(self, name: str) -> User:
        """Raises `NotFound`."""
        user = await self._store.user(name)
        if user is None:
            raise NotFound(public=f"There is no user {shown(name)}.")
        return user

    async def remove_user(self, name: str, *, actor: Actor | str) -> None:
        """End what the user runs and take the account away; homes stay."""
        user = await self.user(name)
        # First nobody gets in: a client that connects again and again would race every stop.
        await self._store.set_enabled(user.id, enabled=False, actor=actor)
        self._connections.end_user(user.id, TAKEN_AWAY)

        async def stop() -> None:
            for desktop in await self._store.desktops(user_id=user.id):
                await self._stop(desktop, f"the user {name} was removed", actor)

        try:
            await _take_away(stop, lambda: self._store.remove_user(user.id, actor=actor))
        except DeskError:
            await self._store.set_enabled(user.id, enabled=user.enabled, actor=actor)
            raise

    async def set_enabled(self, name: str, *, enabled: bool, actor: Actor | str) -> None:
        """Whether anything proves the user; what a disabled one has open ends. Raises `NotFound`."""
        user = await self.user(name)
        await self._store.set_enabled(user.id, enabled=enabled, actor=actor)
        if not enabled:
            self._connections.end_user(user.id, TAKEN_AWAY)

    async def add_key(self, name: str, line: str, *, actor: Actor | str) -> Key:
        """`line` is one of `authorized_keys`. Raises `NotFound`, `BadRequest`, `Conflict`."""
        user = await self.user(name)
        return await self._add_key(user.id, parse_line(line), actor)

    async def _add_key(self, user_id: UserId, key: ParsedKey, actor: Actor | str) -> Key:
        taken = {key.name for key in await self._store.keys(user_id)}
        return await self._store.add_key(
            user_id,
            fingerprint=key.fingerprint,
            public=key.public,
            name=free_key_name(key.name, taken),
            expires_at=key.expires_at,
            sources=key.sources,
            verify_required=key.verify_required,
            actor=actor,
        )

    async def key(self, user: User, named: str) -> Key:
        """The user's key by its fingerprint or its name. Raises `NotFound`."""
        keys = await self._store.keys(user.id)
        found = [key for key in keys if key.fingerprint == named]
        found += [key for key in keys if key.name == named]
        if not found:
            raise NotFound(public=f"{user.name} has no key {shown(named)}.")
        return found[0]

    async def rename_key(self, name: str, named: str, new: str, *, actor: Actor | str) -> Key:
        """`named` as in `key`. Raises `NotFound`, `BadRequest`, and `Conflict` when another key of
        the user has the name.
        """
        user = await self.user(name)
        key = await self.key(user, named)
        await self._store.rename_key(user.id, key.fingerprint, key_name(new), actor=actor)
        return await self.key(user, key.fingerprint)

    async def remove_key(
        self, name: str, named: str, *, actor: Actor | str, end: End | None = None
    ) -> None:
        """`named` as in `key`. What the key opened ends at once, unless `end` sees to that. Raises
        `NotFound`.
        """
        user = await self.user(name)
        key = await self.key(user, named)
        await self._store.remove_key(user.id, key.fingerprint, actor=actor)
        await (end or self.end)(key.fingerprint)

    async def end(self, credential: str) -> None:
        """End what it opened, and browsers that stand by it: it proves nobody any more."""
        self._connections.end_credential(credential, TAKEN_AWAY)
        await self._sign_ins.end_by(credential)

    async def set_password(
        self, name: str, password: str, *, actor: Actor | str, end: End | None = None
    ) -> Password:
        """In place of the one before, whose connections end as in `remove_key`. Raises `NotFound`,
        `BadRequest` for one that cannot be set, `Conflict` for an account whose password is kept
        elsewhere, and `CapacityExhausted`.
        """
        user = await self.user(name)
        if user.source != LOCAL:
            raise Conflict(
                public=f"The password of {name} is checked by {user.source}: change it there."
            )
        hashed = await self._passwords.hash(password)
        before = await self._store.password(user.id)
        made = await self._store.set_password(user.id, hashed, actor=actor)
        if before is not None:
            await (end or self.end)(f"{PASSWORD}{before.id}")
        return made

    async def remove_password(
        self, name: str, *, actor: Actor | str, end: End | None = None
    ) -> None:
        """What it opened ends as in `remove_key`. Raises `NotFound`, also when there is none."""
        user = await self.user(name)
        before = await self._store.password(user.id)
        await self._store.remove_password(user.id, actor=actor)
        if before is not None:
            await (end or self.end)(f"{PASSWORD}{before.id}")

    # -- desktops
    async def desktop_for(self, user: User, name: str, *, actor: Actor | str) -> Desktop:
        """The user's desktop of that name, made when it is not there yet. Raises `DeskError`."""
        found = await self._store.desktop_of(user.id, desktop_name(name))
        if found is not None:
            return found
        pools = await self._host.pools()
        most = (await self._policies.of(user.id)).policy.desktops
        async with self._making:  # two at once would both be the last one allowed
            owned = await self._store.desktops(user_id=user.id)
            names = [desktop.name for desktop in owned]
            if name not in names and len(owned) >= most:
                raise Conflict(
                    public=f"You have {len(owned)} desktops ({', '.join(names)});"
                    " more are not allowed."
                )
            return await self._store.ensure_desktop(
                user.id,
                name,
                template=TEMPLATE,
                host=self._host.name,
                pools=pools,
                actor=actor,
            )

    async def remove_desktop(self, desktop_id: str, *, with_home: bool, actor: Actor | str) -> None:
        """Stop it and take it away. Its home stays for the user's next desktop of that name, but
        `with_home` deletes it for good, from the archive too. Raises `NotFound`, `EngineUnavailable`.
        """
        desktop = await self._store.desktop(DesktopId(desktop_id))
        if desktop is None:
            raise NotFound(public=f"There is no desktop {shown(desktop_id)}.")
        await _take_away(
            lambda: self._stop(desktop, "the desktop was removed", actor),
            lambda: self._store.remove_desktop(desktop.id, actor=actor),
        )
        if with_home:
            await self._archivist.give_way(desktop.id)
            volume = home_volume(desktop.id)
            detail: dict[str, str | int | bool | None] = {"volume": volume}
            current = await self._store.desktop(desktop.id)
            if current is not None and current.archive is not None:
                detail["archive"] = current.archive.size
            await self._store.note(
                actor=actor, action="home.delete", subject=desktop.id, detail=detail
            )
            await self._engine.remove_home(volume)
            await self._archivist.forget(desktop.id)
            await self._store.forget_desktop(desktop.id, actor=actor)

    async def _stop(self, desktop: Desktop, reason: str, actor: Actor | str) -> None:
        session = await self._store.live_session(desktop.id)
        if session is not None:
            await self._sessions.stop(session.id, reason=reason, actor=actor)


async def _take_away(
    stop: Callable[[], Awaitable[None]], remove: Callable[[], Awaitable[None]]
) -> None:
    """Stop and remove; whoever connects in between does not win. Raises `Conflict`."""
    for _ in range(_AGAIN):
        await stop()
        with suppress(Conflict):
            return await remove()
    await stop()
    return await remove()
