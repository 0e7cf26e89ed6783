"""The contracts between the parts: clock, store, engine; `gateway` holds the front door's.

Each method says whether it may be repeated, what it raises and what a cancelled caller leaves
behind. Fakes and real ones are held to the same contract suites in `tests/contract`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from broker.core.identities import Identities

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from ipaddress import IPv4Address

    from broker.core.firewall import Grant, Rules, Standing, Told
    from broker.core.idle import Signal, Step
    from broker.core.model import (
        Actor,
        AuditEntry,
        AuditHead,
        Deadline,
        Desktop,
        DesktopId,
        Drain,
        HomeArchive,
        InstanceId,
        Lease,
        LeaseKind,
        Owner,
        Session,
        SessionId,
        SessionState,
        UserId,
        Verification,
    )
    from broker.core.pools import Pools
    from broker.core.spec import ContainerSpec


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def now(self) -> datetime:
        """Aware UTC: for records, never for durations."""

    def monotonic(self) -> float:
        """Seconds that only go forward: for durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait; raises `CancelledError` when cancelled."""


# --------------------------------------------------------------------------------------- store


class Store(Identities, Protocol):
    """The state. Each method is one transaction that is durable when it returns, and writes its
    audit row inside it. A cancelled caller leaves the transaction either whole or absent.
    A bare string for an `actor` is an `Actor` who proved nothing.

    Raises `StateUnusable` when the database cannot be read or written.
    """

    async def instance(self) -> InstanceId:
        """The random id of this installation, made at the first call and kept for ever."""

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
        """Find the user's desktop of the name, take up a removed one whose home was kept, or make
        one with a uid that nobody else has. Idempotent. Raises `NotFound` for an unknown user,
        `CapacityExhausted` when no uid is left.
        """

    async def desktop(self, desktop_id: DesktopId) -> Desktop | None:
        """Removed ones too."""

    async def desktop_of(self, user_id: UserId, name: str) -> Desktop | None:
        """Not removed ones alone."""

    async def desktops(
        self, *, user_id: UserId | None = None, removed: bool = False
    ) -> Sequence[Desktop]:
        """By owner and name; with `removed`, those as well."""

    async def remove_desktop(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        """Mark it removed; its home and uid stay. Idempotent. Raises `NotFound`, and `Conflict`
        while it has a live session.
        """

    async def note_home(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        """Its home is made; the first call sets the time. Idempotent. Raises `NotFound`."""

    async def unused_desktops(self, since: datetime, *, limit: int) -> Sequence[Desktop]:
        """Those, removed ones too, that have a home on the engine, no live session, and none that
        ended after `since`; unused for the longest first.
        """

    async def archived_desktops(self) -> Sequence[Desktop]:
        """Those whose home is packed away, removed ones too."""

    async def note_archived(
        self, desktop_id: DesktopId, *, size: int, unpacked: int, sha256: str, actor: Actor | str
    ) -> HomeArchive:
        """Its home is packed away now: see `HomeArchive`. Raises `NotFound`, and `Conflict` while it
        has a live session, when no home was made yet, or when it is packed away already.
        """

    async def note_restored(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        """Its home is back on the engine. Idempotent. Raises `NotFound`."""

    async def forget_desktop(self, desktop_id: DesktopId, *, actor: Actor | str) -> None:
        """Delete the record and release the uid, once its home is gone. Raises `NotFound`, and
        `Conflict` unless it is marked removed and has no live session.
        """

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
        """Make a session in STARTING that holds a port, a display and an address. Raises
        `AlreadyLive`, `NotFound` (or removed), `CapacityExhausted` naming the empty pool; then
        nothing is left behind.
        """

    async def release_port(
        self, session_id: SessionId, *, until: datetime, pools: Pools, actor: Actor | str
    ) -> Session:
        """The engine found the session's port taken by a stranger: set it aside until then, lease
        the next one. Raises `StaleState` unless the session is STARTING, `CapacityExhausted`.
        """

    async def release_address(
        self, session_id: SessionId, *, until: datetime, pools: Pools, actor: Actor | str
    ) -> Session:
        """The same for the bridge address."""

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
        """Compare-and-set along `lifecycle.TRANSITIONS`; the step to ENDED releases the leases in
        the same transaction. `reason` None keeps what was there. Raises `StaleState` when the
        state is not `expected`, `IllegalTransition`, `NotFound`.
        """

    async def session(self, session_id: SessionId) -> Session | None: ...

    async def live_session(self, desktop_id: DesktopId) -> Session | None: ...

    async def last_session(self, desktop_id: DesktopId) -> Session | None:
        """The newest one of the desktop, live or ended."""

    async def live_sessions(self, host: str | None = None) -> Sequence[Session]:
        """Everything not ENDED, oldest first."""

    async def live_owners(self) -> Mapping[DesktopId, Owner]:
        """Of all desktops that have a session that is not ENDED."""

    async def addresses(
        self, host: str, states: Collection[SessionState]
    ) -> Mapping[SessionId, IPv4Address]:
        """Those that sessions in these live states hold: a small part of `live_sessions`, and in a
        fraction of its time.
        """

    async def session_of_display(self, host: str, display: int) -> Session | None:
        """The live session that holds the display."""

    # -- sleep
    async def keep_session(
        self, session_id: SessionId, *, until: datetime | None, actor: Actor | str
    ) -> Session:
        """Set until when it is kept; None: no longer. Raises `NotFound`, `StaleState` when it has
        ended.
        """

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
        """Append a change of the session's next step; the row is its own record, and has no audit
        entry beside it. Raises `NotFound`.
        """

    async def deadlines(self, session_id: SessionId, *, limit: int = 20) -> Sequence[Deadline]:
        """A session's, newest first; an ended one's too."""

    async def last_deadlines(self, host: str) -> Sequence[Deadline]:
        """The newest one of each live session of the host that has any."""

    # -- maintenance
    async def drain(self) -> Drain | None:
        """The maintenance that is announced."""

    async def begin_drain(self, *, at: datetime | None, message: str, actor: Actor | str) -> Drain:
        """Announce one, or change the one that is; the same again changes nothing."""

    async def end_drain(self, *, actor: Actor | str) -> None:
        """It is over. Idempotent."""

    # -- leases, audit
    async def leases(self, kind: LeaseKind | None = None) -> Sequence[Lease]: ...

    async def release_leases(self, session_id: SessionId, *, actor: Actor | str) -> None:
        """Give free what a session holds that has ended, which by itself holds nothing. Idempotent.
        Raises `Conflict` when it is live.
        """

    async def count_leases(self, host: str, pools: Pools) -> Mapping[LeaseKind, int]:
        """How many numbers of each of the host's pools are leased."""

    async def audit(
        self,
        *,
        limit: int = 100,
        subject: str | None = None,
        actor: str | None = None,
        before: int | None = None,
    ) -> Sequence[AuditEntry]:
        """Newest first; `actor` is one's name, and `before` a number that they must be below."""

    async def audit_chain(self, *, after: int = 0, limit: int = 250) -> Sequence[AuditEntry]:
        """The entries behind the number `after`, oldest first."""

    def next_record(self) -> asyncio.Event:
        """Set once this process has written the next entry. Ask before you read what is there, and
        look from time to time all the same: other brokers write too.
        """

    async def audit_head(self) -> AuditHead:
        """The newest entry there is."""

    async def verify_audit(self, *, after: int = 0) -> Verification:
        """Walk along the chain from behind the entry `after`, whose own word is taken for what was
        before, to its end. What is written meanwhile is looked at too. Raises `NotFound` when there
        is no such entry.
        """

    async def note(
        self,
        *,
        actor: Actor | str,
        action: str,
        subject: str,
        detail: Mapping[str, str | int | bool | None],
    ) -> None:
        """An audit row of its own, for what changes no other record (a home that was deleted)."""


# -------------------------------------------------------------------------------------- engine


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    """Restarting, removing and dead count as this: none of them serves anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the engine tells of one of our containers."""

    name: str
    state: ContainerState
    desktop_id: str
    session_id: str
    spec_hash: str
    address: str | None
    exit_code: int | None
    oom_killed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a container has used and holds."""

    cpu: float
    """As of `Engine.cpu_seconds`."""
    memory: int
    """Bytes, without what the kernel keeps of files and can let go of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    version: str
    warnings: tuple[str, ...]
    """What the engine cannot enforce of what every container asks for, one sentence each."""


class EventKind(StrEnum):
    """What can happen to a container that somebody must look at."""

    DIED = "died"
    OOM = "oom"
    """The kernel killed one of its processes for want of memory; it may run on."""
    DESTROYED = "destroyed"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    HEALTH = "health"
    """Its health check changed its mind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    kind: EventKind
    name: str
    """The container's."""
    session_id: str


class Engine(Protocol):
    """What runs containers, seen through one instance's label: nothing else is ever touched.

    Every method is idempotent, bounded in time, and raises `EngineUnavailable` when the engine
    does not answer or fails. A cancelled caller does not stop a call that is under way: it runs to
    its end, and a repeat or a reconcile finds what it did.
    """

    async def ping(self) -> EngineInfo: ...

    async def image_id(self, reference: str) -> str:
        """The id of a present image. Raises `ImageMissing`; never pulls."""

    async def ensure_network(self, name: str, *, bridge: str, subnet: str) -> str:
        """Make the instance's bridge without traffic between its containers, or find it; returns
        the subnet that it has (the found one's may be another). Raises `Conflict` when the engine
        says that the subnet is in use.
        """

    async def network(self, name: str) -> str | None:
        """The subnet of the instance's bridge; None when there is none. Raises `Conflict` for a
        foreign network of that name.
        """

    async def remove_network(self, name: str) -> None:
        """Gone already is success. Raises `Conflict` while a container is in it."""

    async def attempt(
        self, targets: Sequence[tuple[str, int]], *, network: str, image: str
    ) -> Sequence[tuple[str, int]]:
        """Try to connect to each address and port from inside the network, as somebody there to
        whom nothing was granted, and return those that took it. One call at a time; it takes some
        seconds, and leaves nothing. Raises `ImageMissing`.
        """

    async def ensure_home(self, volume: str, *, desktop_id: str, image: str, uid: int) -> None:
        """Make the volume, filled from the image's home and owned by the uid, or find it. A found
        one that is owned already is left as it is. Raises `ImageMissing`, `Conflict` for a
        foreign volume of that name.
        """

    async def bound_home(self, volume: str, *, image: str, uid: int, size: int) -> None:
        """Let the uid keep at most so many bytes on the filesystem that the volume is on: its home,
        since no other desktop has the uid. Raises `HomeUnbounded` with the reason where that cannot
        be, and `ImageMissing`.
        """

    async def check_bounds(self, *, image: str) -> None:
        """Raises what `bound_home` would raise, and changes nothing."""

    async def remove_home(self, volume: str) -> None:
        """Raises `Conflict` while a container uses it."""

    async def homes(self) -> Sequence[str]:
        """The names of the instance's volumes."""

    async def export_home(self, volume: str, *, image: str, sink: Callable[[bytes], None]) -> None:
        """Give the whole home to `sink` as a tar, piece by piece: owners, modes, times to the
        second, links and all names, each below `desk`. Sockets and extended attributes are left
        out. Nothing must use the home meanwhile. Raises `NotFound` when it is gone, `ImageMissing`,
        and what `sink` raises.

        `sink` runs in a thread of the engine's. It is not called any more once the caller is
        cancelled, and the call ends at the next piece.
        """

    async def import_home(
        self, volume: str, *, desktop_id: str, image: str, source: Iterator[bytes]
    ) -> None:
        """Make the volume with nothing in it but the tar, which is as `export_home` gives it. What
        the volume held is gone, so a call that failed half-way is repeated as a whole. Raises
        `ImageMissing`, `Conflict` for a foreign volume of that name or while a container uses it,
        and what `source` raises; cancelled like `export_home`.
        """

    async def create(self, spec: ContainerSpec) -> Container:
        """Make the container, or adopt the one of that name when its session and spec labels match;
        one that does not match is removed and the call retried once. Raises `ImageMissing`;
        `Conflict` when something foreign has its name, which is left alone; `NotFound` when the
        home is gone; `ValueError` for a spec that no container of ours may have.
        """

    async def start(self, name: str) -> Container:
        """Start it, or find it running. Raises `PortTaken`, `AddressTaken` (and leaves the
        container for `remove`), `NotFound`.
        """

    async def remove(self, name: str, *, grace: float = 5.0) -> None:
        """Stop it (SIGKILL after `grace` seconds) and remove it; gone already is success."""

    async def kill(self, name: str) -> None:
        """Remove it without asking its programs to end; gone already is success."""

    async def pause(self, name: str) -> None:
        """Let it compute no more and keep its memory; paused already is success. Raises `NotFound`
        when it is gone or does not run.
        """

    async def unpause(self, name: str) -> None:
        """Let it go on; running already is success. Raises `NotFound` likewise."""

    async def cpu_seconds(self, name: str) -> float | None:
        """CPU time of all its processes on all cores since it started; None unless it runs."""

    async def usage(self, names: Sequence[str]) -> Mapping[str, Usage]:
        """What each of these containers uses, as the kernel of this host tells: cheap for all of
        them together. Without those that do not run or are not to be seen here; one that is asked
        for the first time can be missing when many are.
        """

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """What happens to the instance's containers from the moment of entering on. The iteration
        raises `EngineUnavailable` when the engine goes away or events were lost: look at
        everything, then enter again.
        """

    async def inspect(self, name: str) -> Container | None: ...

    async def containers(self) -> Sequence[Container]:
        """All of the instance's, in every state."""

    async def tail(self, name: str, *, lines: int = 20) -> str:
        """The end of its log, for the operator; at most 8 KiB, empty when it is gone."""

    async def close(self) -> None: ...


# ---------------------------------------------------------------------------------- packet filter


class PacketFilter(Protocol):
    """What judges the packets of desktops: the tables of one installation, and no others.

    Every method is idempotent, bounded in time, and raises `FirewallFailed` when the rules cannot
    be read or changed here; then they are as they were. A cancelled caller leaves the change either
    whole or not made.
    """

    async def put(self, rules: Rules) -> str | None:
        """Put the tables in place, in one step, whatever stood there. Returns one sentence when this
        host cannot hold a part of them. Raises `FirewallFailed` also when one of the bridges is not
        in the network that the rules would hold for.
        """

    async def standing(self, instance: str) -> Standing | None:
        """What is in place; None where the main table is missing or cannot be understood."""

    async def grant(self, instance: str, grant: Grant) -> None:
        """Let the address reach what the policy names. Raises `FirewallFailed` when there is no
        table to add it to.
        """

    async def revoke(self, instance: str, grant: Grant) -> None:
        """The reverse, with the same error."""

    async def remove(self, instance: str) -> None:
        """Take the tables away; gone already is success."""


class GuardedPackets(PacketFilter, Protocol):
    """One that keeps what it was given."""

    async def guard(self, told: Told) -> None:
        """Put back, within two seconds, whatever others do to the rules that were put last; however
        often they do it, that costs little. Ends only when cancelled. `told` hears of each time
        that something was put back, and of nothing at least every 30 seconds. Raises
        `FirewallFailed` when nobody can watch or put back any more: call it again.
        """
