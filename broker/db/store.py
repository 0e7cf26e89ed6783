"""The Store over SQL: which work is which transaction. What each method promises stands in
`core.interfaces.Store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core import lifecycle
from broker.core.chain import BEGINNING, Chain, Walk
from broker.core.errors import AlreadyLive, NotFound
from broker.core.interfaces import Store
from broker.core.model import AuditHead, LeaseKind
from broker.db import audit, deadlines, desktops, drain, instance, leases, people, sessions
from broker.db.identities import SqlIdentities
from broker.db.tables import session_live
from broker.db.transaction import Transactions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from ipaddress import IPv4Address

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from broker.core.idle import Signal, Step
    from broker.core.interfaces import Clock
    from broker.core.model import (
        Actor,
        AuditEntry,
        Deadline,
        Desktop,
        DesktopId,
        Drain,
        HomeArchive,
        InstanceId,
        Lease,
        Owner,
        Session,
        SessionId,
        SessionState,
        UserId,
        Verification,
    )
    from broker.core.pools import Pools
    from broker.db.transaction import Transaction


class SqlStore(SqlIdentities, Store):
    """The state, in whatever database the engine opens."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        audit_key: bytes,
        *,
        hold: AsyncConnection | None = None,
    ) -> None:
        """`hold` is a connection that is kept open as long as the store is."""
        self._engine = engine
        self._hold = hold
        self._clock = clock
        self._chain = Chain(audit_key)
        self._do = Transactions(engine, clock, self._chain)

    async def close(self) -> None:
        """Close the database; call it once nothing else calls the store."""
        if self._hold is not None:
            await self._hold.close()
        await self._engine.dispose()

    async def open_audit(self, *, new_key: bool) -> str | None:
        """Begin the audit's chain where the key is new, and look at its end where it is not; call
        it before anything is written. Returns the sentence that was written into the audit, when
        what is there is not whole.
        """
        return await self._do.write(
            lambda tx: audit.open_chain(tx, self._chain, new=new_key), actor="broker"
        )

    async def instance(self) -> InstanceId:
        found = await self._do.read(instance.instance)
        if found is not None:
            return found
        return await self._do.write(instance.make_instance, actor="broker")

    # -- desktops
    async def ensure_desktop(
        self,
        user_id: UserId,
        name: str,
        *,
        template: str,
        host: str,
        pools: Pools,
        actor: Actor | str,
    ) -> Desktop:
        found = await self.desktop_of(user_id, name)
        if found is not None:
            return found

        async def make(tx: Transaction) -> Desktop:
            await people.hold_user(tx, user_id)
            return await desktops.make_desktop(
                tx, user_id, name, template=template, host=host, uids=pools.uids
            )

        return await self._do.write(make, actor=actor)

    async def desktop(self, desktop_id: DesktopId) -> Desktop | None:
        return await self._do.read(lambda db: desktops.desktop_by_id(db, desktop_id))

    async def desktop_of(self, user_id: UserId, name: str) -> Desktop | None:
        return await self._do.read(lambda db: desktops.desktop_of(db, user_id, name))

    async def desktops(
        self, *, user_id: UserId | None = None, removed: bool = False
    ) -> Sequence[Desktop]:
        return await self._do.read(
            lambda db: desktops.desktops(db, user_id=user_id, removed=removed)
        )

    async def remove_desktop(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: desktops.remove_desktop(tx, desktop_id), actor=actor)

    async def note_home(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: desktops.note_home(tx, desktop_id), actor=actor)

    async def unused_desktops(self, since: datetime, *, limit: int) -> Sequence[Desktop]:
        return await self._do.read(lambda db: desktops.unused_desktops(db, since, limit=limit))

    async def archived_desktops(self) -> Sequence[Desktop]:
        return await self._do.read(desktops.archived_desktops)

    async def note_archived(
        self, desktop_id: DesktopId, *, size: int, unpacked: int, sha256: str, actor: Actor | str
    ) -> HomeArchive:
        return await self._do.write(
            lambda tx: desktops.note_archived(
                tx, desktop_id, size=size, unpacked=unpacked, sha256=sha256
            ),
            actor=actor,
        )

    async def note_restored(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: desktops.note_restored(tx, desktop_id), actor=actor)

    async def forget_desktop(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        await self._do.write(lambda tx: desktops.forget_desktop(tx, desktop_id), actor=actor)

    # -- sessions
    async def begin_session(
        self,
        desktop_id: DesktopId,
        *,
        host: str,
        image: str,
        pools: Pools,
        deadline: datetime,
        actor: Actor | str,
    ) -> Session:
        return await self._do.write(
            lambda tx: sessions.begin_session(
                tx, desktop_id, host=host, image=image, pools=pools, deadline=deadline
            ),
            actor=actor,
            refusals={session_live: AlreadyLive(f"desktop {desktop_id} has a live session")},
        )

    async def release_port(
        self, session_id: SessionId, *, until: datetime, pools: Pools, actor: Actor | str
    ) -> Session:
        return await self._do.write(
            lambda tx: sessions.replace_lease(
                tx, session_id, kind=LeaseKind.PORT, until=until, pools=pools
            ),
            actor=actor,
        )

    async def release_address(
        self, session_id: SessionId, *, until: datetime, pools: Pools, actor: Actor | str
    ) -> Session:
        return await self._do.write(
            lambda tx: sessions.replace_lease(
                tx, session_id, kind=LeaseKind.ADDRESS, until=until, pools=pools
            ),
            actor=actor,
        )

    async def advance(
        self,
        session_id: SessionId,
        *,
        expected: SessionState,
        to: SessionState,
        deadline: datetime | None,
        reason: str | None,
        actor: Actor | str,
    ) -> Session:
        lifecycle.check(expected, to)
        return await self._do.write(
            lambda tx: sessions.advance(
                tx, session_id, expected=expected, to=to, deadline=deadline, reason=reason
            ),
            actor=actor,
        )

    async def session(self, session_id: SessionId) -> Session | None:
        return await self._do.read(lambda db: sessions.session_by_id(db, session_id))

    async def live_session(self, desktop_id: DesktopId) -> Session | None:
        return await self._do.read(lambda db: sessions.live_session(db, desktop_id))

    async def last_session(self, desktop_id: DesktopId) -> Session | None:
        return await self._do.read(lambda db: sessions.last_session(db, desktop_id))

    async def live_sessions(self, host: str | None = None) -> Sequence[Session]:
        return await self._do.read(lambda db: sessions.live_sessions(db, host))

    async def live_owners(self) -> Mapping[DesktopId, Owner]:
        return await self._do.read(sessions.live_owners)

    async def addresses(
        self, host: str, states: Collection[SessionState]
    ) -> dict[SessionId, IPv4Address]:
        return await self._do.read(lambda db: sessions.addresses(db, host, states))

    async def session_of_display(self, host: str, display: int) -> Session | None:
        return await self._do.read(lambda db: sessions.session_of_display(db, host, display))

    # -- sleep
    async def keep_session(
        self, session_id: SessionId, *, until: datetime | None, actor: Actor | str
    ) -> Session:
        return await self._do.write(
            lambda tx: sessions.keep_session(tx, session_id, until=until), actor=actor
        )

    async def note_deadline(
        self,
        session_id: SessionId,
        *,
        step: Step | None,
        due_at: datetime | None,
        signal: Signal,
        reason: str,
        actor: Actor | str,
    ) -> Deadline:
        return await self._do.write(
            lambda tx: deadlines.note_deadline(
                tx, session_id, step=step, due_at=due_at, signal=signal, reason=reason
            ),
            actor=actor,
        )

    async def deadlines(self, session_id: SessionId, *, limit: int = 20) -> Sequence[Deadline]:
        return await self._do.read(lambda db: deadlines.deadlines(db, session_id, limit=limit))

    async def last_deadlines(self, host: str) -> Sequence[Deadline]:
        return await self._do.read(lambda db: deadlines.last_deadlines(db, host))

    # -- maintenance
    async def drain(self) -> Drain | None:
        return await self._do.read(drain.drain)

    async def begin_drain(self, *, at: datetime | None, message: str, actor: Actor | str) -> Drain:
        return await self._do.write(lambda tx: drain.begin(tx, at=at, message=message), actor=actor)

    async def end_drain(self, *, actor: Actor | str) -> None:
        await self._do.write(drain.end, actor=actor)

    # -- leases, audit
    async def release_leases(self, session_id: SessionId, *, actor: Actor | str) -> None:
        async def release(tx: Transaction) -> None:
            await sessions.refuse_live(tx, session_id)
            if count := await leases.release_session(tx, session_id):
                tx.record("lease.release", session_id, {"leases": count})

        await self._do.write(release, actor=actor)

    async def leases(self, kind: LeaseKind | None = None) -> Sequence[Lease]:
        return await self._do.read(lambda db: leases.leases(db, kind))

    async def count_leases(self, host: str, pools: Pools) -> dict[LeaseKind, int]:
        return await self._do.read(lambda db: leases.count(db, host, pools))

    async def audit(
        self,
        *,
        limit: int = 100,
        subject: str | None = None,
        actor: str | None = None,
        before: int | None = None,
    ) -> Sequence[AuditEntry]:
        return await self._do.read(
            lambda db: audit.entries(db, limit=limit, subject=subject, actor=actor, before=before)
        )

    async def audit_chain(self, *, after: int = 0, limit: int = 250) -> Sequence[AuditEntry]:
        return await self._do.read(lambda db: audit.entries_after(db, after, limit=limit))

    def next_record(self) -> asyncio.Event:
        return self._do.next_record()

    async def audit_head(self) -> AuditHead:
        return await self._do.read(audit.read_last) or BEGINNING

    async def verify_audit(self, *, after: int = 0) -> Verification:
        walk = Walk(self._chain, await self._start(after))
        while True:
            page = await self.audit_chain(after=walk.last.seq)
            whole = all(walk.step(entry) for entry in page)
            if page and whole:
                continue
            note = await self._do.read(audit.read_note) or BEGINNING
            # What was written since the last page is no cut.
            if whole and note.seq > walk.last.seq and await self.audit_chain(after=walk.last.seq):
                continue
            return walk.end(note)

    async def _start(self, after: int) -> AuditHead:
        if after == 0:
            return BEGINNING
        entry = await self._do.read(lambda db: audit.entry(db, after))
        if entry is None:
            raise NotFound(f"no audit entry {after}", public=f"There is no audit entry {after}.")
        return AuditHead(seq=entry.seq, hash=entry.hash or "")

    async def note(
        self,
        *,
        actor: Actor | str,
        action: str,
        subject: str,
        detail: Mapping[str, str | int | bool | None],
    ) -> None:
        async def note(tx: Transaction) -> None:
            tx.record(action, subject, detail)

        await self._do.write(note, actor=actor)
