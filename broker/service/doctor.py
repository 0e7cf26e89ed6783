"""Looks at all that the broker keeps, and sets right what can be set right without losing anything.

What was mended is looked at again: a finding counts as mended once it is no longer found.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.core.errors import Conflict, DeskError, EngineUnavailable, FirewallFailed
from broker.core.findings import Finding
from broker.core.model import LeaseKind, SessionState
from broker.core.reconcile import End, Pause, Resume, Sweep, Unpause
from broker.core.spec import home_volume, network_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from broker.core.interfaces import Engine, PacketFilter, Store
    from broker.core.model import Desktop, Session, SessionId
    from broker.core.reconcile import Action
    from broker.service.archives import Archives
    from broker.service.files import SessionKeys
    from broker.service.firewall import Firewall
    from broker.service.host import Host
    from broker.service.reconciler import Reconciler

_ACTOR = "doctor"

#: The first engine that keeps what is asked of it here.
_OLDEST_ENGINE = 20

_HOLDS = (LeaseKind.PORT, LeaseKind.DISPLAY, LeaseKind.ADDRESS)


class Doctor:
    """Of one broker, which runs or is not started: its records and what they are about."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        keys: SessionKeys,
        host: Host,
        firewall: Firewall,
        reconciler: Reconciler,
        archives: Archives,
        kernel: PacketFilter,
        image: str,
    ) -> None:
        self._store = store
        self._engine = engine
        self._keys = keys
        self._host = host
        self._firewall = firewall
        self._reconciler = reconciler
        self._archives = archives
        self.kernel = kernel
        """Who tells which rules there are while this process has put none."""
        self._image = image
        self._working = asyncio.Lock()

    async def examine(self) -> list[Finding]:
        """All that is not as it should be. Raises `StateUnusable`."""
        found = [finding async for finding in self._records()]
        try:
            found += [finding async for finding in self._world()]
        except EngineUnavailable as error:
            found.append(_by_hand("engine", str(error), "start the container engine"))
        return found

    async def mend(self, findings: Sequence[Finding]) -> list[Finding]:
        """Set right those that can be; returns what is found then. Raises `DeskError`."""
        async with self._working:
            if any(finding.mends for finding in findings):
                await self._release()
                # Bridge, rules, records, containers and files of sessions are its daily work.
                await self._reconciler.pass_once()
        return await self.examine()

    # --------------------------------------------------------------------------- records, files

    async def _records(self) -> AsyncIterator[Finding]:
        directories = self._keys.existing()
        for session_id in await self._dead_holders():
            yield _mended(
                "leases",
                f"session {session_id} has ended and holds numbers still",
                "give them free",
            )
        live = {session.id: session for session in await self._store.live_sessions()}
        for finding in await self._holdings(live):
            yield finding
        for session_id in directories:
            if session_id not in live:
                yield _mended(
                    "files",
                    f"there are keys of session {session_id}, which has ended",
                    "delete them",
                )
        verification = await self._store.verify_audit()
        if verification.problem is not None:
            yield _by_hand(
                "audit",
                verification.problem.rstrip("."),
                "keep a copy of the state, and compare with what the system's log or a backup tells",
            )

    async def _dead_holders(self) -> list[SessionId]:
        held = {lease.session_id for lease in await self._store.leases()} - {None}
        live = {session.id for session in await self._store.live_sessions()}
        found = [(await self._store.session(id_)) for id_ in held - live if id_ is not None]
        return sorted(one.id for one in found if one is not None and not one.live)

    async def _release(self) -> None:
        for session_id in await self._dead_holders():
            await self._store.release_leases(session_id, actor=_ACTOR)

    async def _holdings(self, live: Mapping[SessionId, Session]) -> list[Finding]:
        """Of sessions that should be reached: their numbers, and the keys that lead in."""
        found = []
        for session in live.values():
            if session.state not in {SessionState.READY, SessionState.FROZEN}:
                continue
            has = {
                LeaseKind.PORT: session.port,
                LeaseKind.DISPLAY: session.display,
                LeaseKind.ADDRESS: session.address,
            }
            stop = f"deskctl session stop {session.id}"
            missing = [kind.value for kind in _HOLDS if has[kind] is None]
            if missing:
                what = " and no ".join(missing)
                found.append(_by_hand("leases", f"session {session.id} holds no {what}", stop))
            try:
                await asyncio.to_thread(self._keys.access, session.id)
            except DeskError:
                found.append(_by_hand("files", f"the keys of session {session.id} are gone", stop))
        return found

    # ------------------------------------------------------------------------ the engine's world

    async def _world(self) -> AsyncIterator[Finding]:
        for finding in await self._engine_itself():
            yield finding
        bridge = await self._bridge()
        if bridge is not None:
            yield bridge
        for action in await self._reconciler.differences():
            yield _of(action)
        for finding in await self._homes():
            yield finding
        rules = await self._rules()
        if rules is not None and bridge is None:
            yield rules

    async def _engine_itself(self) -> list[Finding]:
        info = await self._engine.ping()
        found = [
            _by_hand("engine", warning.rstrip("."), "see docs/operations.md, Start and stop")
            for warning in info.warnings
        ]
        major = info.version.partition(".")[0]
        if major.isdigit() and int(major) < _OLDEST_ENGINE:
            found.append(
                _by_hand(
                    "versions",
                    f"the engine has version {info.version}",
                    f"install {_OLDEST_ENGINE}.10 or newer",
                )
            )
        try:
            await self._engine.image_id(self._image)
        except EngineUnavailable:
            raise
        except DeskError as error:
            found.append(_by_hand("image", str(error), "make or load it: deskctl image"))
        return found

    async def _bridge(self) -> Finding | None:
        name = network_name(self._host.instance)
        try:
            there = await self._engine.network(name)
        except Conflict as error:
            return _by_hand("network", str(error), f"remove it: docker network rm {name}")
        if there is not None:
            return None
        return _mended("network", f"the desktops' bridge {name} is gone", "make it again")

    async def _rules(self) -> Finding | None:
        try:
            wrong = await self._firewall.missing(self.kernel)
        except FirewallFailed as error:
            return _by_hand("firewall", str(error), "see docs/network.md")
        if wrong is None:
            return None
        return _mended("firewall", f"the network's rules: {wrong}", "put them back")

    async def _homes(self) -> list[Finding]:
        desktops = {home_volume(d.id): d for d in await self._store.desktops(removed=True)}
        volumes = set(await self._engine.homes())
        packed = set(await asyncio.to_thread(self._archives.existing))
        found = [
            _by_hand(
                "homes",
                f"the volume {volume} is of no desktop",
                f"look into it; docker volume rm {volume} deletes it for good",
            )
            for volume in sorted(volumes - desktops.keys())
        ]
        for volume, desktop in desktops.items():
            lost = desktop.home_made_at is not None and volume not in volumes
            if desktop.archive is not None:
                lost = desktop.id not in packed
            if lost:
                found.append(_lost(desktop, volume))
        return found


def _of(action: Action) -> Finding:
    match action:
        case Sweep(name):
            return _mended("containers", f"the container {name} is of no live session", "remove it")
        case Resume(session):
            return _mended("records", f"nobody carries on the start of {session.id}", "carry it on")
        case Pause(session):
            what = f"session {session.id} is frozen, and its container runs"
            return _mended("containers", what, "pause it")
        case Unpause(session):
            what = f"session {session.id} is ready, and its container is paused"
            return _mended("containers", what, "let it go on")
        case End(session, reason):
            what = f"session {session.id} is {session.state.value}, and cannot go on: {reason}"
            return _mended("records", what, "end it")


def _lost(desktop: Desktop, volume: str) -> Finding:
    where = f"archive/{desktop.id}.tar.gz of the state" if desktop.archive else f"volume {volume}"
    return _by_hand(
        "homes",
        f"the home of desktop {desktop.id} is missing ({where})",
        f"bring it back from a backup, or deskctl desktop rm {desktop.id} --with-home",
    )


def _mended(area: str, found: str, action: str) -> Finding:
    return Finding(area, found, action, mends=True)


def _by_hand(area: str, found: str, action: str) -> Finding:
    return Finding(area, found, action, mends=False)
