"""An engine in memory, held to the same contract as the real one, with knobs for tests."""

from __future__ import annotations

import hashlib
import tarfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from broker.core.errors import (
    AddressTaken,
    Conflict,
    EngineUnavailable,
    HomeUnbounded,
    ImageMissing,
    NotFound,
    PortTaken,
)
from broker.core.interfaces import (
    Container,
    ContainerState,
    EngineEvent,
    EngineInfo,
    EventKind,
    Usage,
)
from broker.core.spec import LABEL_DESKTOP, LABEL_INSTANCE, LABEL_SPEC
from broker.engine.fakehomes import Home, packed, unpacked
from broker.engine.hostconfig import container_config
from broker.engine.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from broker.core.spec import ContainerSpec

_ALIVE = frozenset({ContainerState.RUNNING, ContainerState.PAUSED})
_KILLED = 137
_MEMORY = 300 << 20
_WAITING_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class _Made:
    spec: ContainerSpec
    state: Container
    log: str = ""
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class _Fault:
    error: Exception
    after_effect: bool


class FakeEngine:
    """Effects are instant and atomic; `before` and `after` are awaited around each, with the
    method's name. A caller cancelled in `before` has done nothing, one in `after` everything.
    """

    def __init__(self, instance: str, *, images: Sequence[str] = ("desk:latest",)) -> None:
        self.instance = instance
        self.images = {image: _image_id(image) for image in images}
        """Reference to id; a container can be made from either."""
        self.warnings: tuple[str, ...] = ()
        self.held_ports: set[int] = set()
        """Host ports that somebody else holds."""
        self.held_addresses: set[str] = set()
        """Bridge addresses that containers of somebody else hold."""
        self.held_names: set[str] = set()
        """Names of containers, volumes and networks of somebody else."""
        self.held_subnets: set[str] = set()
        """Subnets of networks of somebody else."""
        self.reachable: set[tuple[str, int]] = set()
        """Addresses and ports that take connections from inside the network."""
        self.unbounded: str | None = None
        """Why no home can be bounded here."""
        self.bounds: dict[str, tuple[int, int]] = {}
        """Uid and bytes of each home that is bounded."""
        self.networks: dict[str, str] = {}
        """Name to subnet."""
        self.volumes: dict[str, Home] = {}
        self.calls: list[str] = []
        """The name of each method that was called, in order."""
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.after: Callable[[str], Awaitable[None]] | None = None
        self._made: dict[str, _Made] = {}
        self._faults: dict[str, list[_Fault]] = {}
        self._mailboxes: set[Mailbox] = set()
        self._down = False
        self._closed = False

    # ------------------------------------------------------------------------------------- knobs

    def fail_next(self, method: str, error: Exception, *, after_effect: bool = False) -> None:
        """Let the method's next call fail: before it does anything, or with its reply lost."""
        self._faults.setdefault(method, []).append(_Fault(error, after_effect))

    @property
    def down(self) -> bool:
        """Whether every method raises `EngineUnavailable`; when it goes, whoever listens is told."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        if down:
            self.lose_events()

    def lose_events(self) -> None:
        """Whoever listens is cut off."""
        for mailbox in self._mailboxes:
            mailbox.end("events: the engine ended them")

    def die(self, name: str, *, exit_code: int = _KILLED, oom_killed: bool = False) -> None:
        """The container dies from outside."""
        self._change(name, state=ContainerState.EXITED, exit_code=exit_code, oom_killed=oom_killed)
        if oom_killed:
            self._tell(EventKind.OOM, name)
        self._tell(EventKind.DIED, name)

    def outside_pause(self, name: str) -> None:
        """Somebody else freezes the container."""
        self._change(name, state=ContainerState.PAUSED)
        self._tell(EventKind.PAUSED, name)

    def outside_unpause(self, name: str) -> None:
        self._change(name, state=ContainerState.RUNNING)
        self._tell(EventKind.UNPAUSED, name)

    def vanish(self, name: str) -> None:
        """The container is removed from outside."""
        if self._made[name].state.state in _ALIVE:
            self._tell(EventKind.DIED, name)
        self._tell(EventKind.DESTROYED, name)
        del self._made[name]

    def change_health(self, name: str) -> None:
        """The container's health check changes its mind."""
        self._tell(EventKind.HEALTH, name)

    def burn(self, name: str, seconds: float) -> None:
        """The container's programs use CPU time; what does not run uses none."""
        made = self._made[name]
        if made.state.state is ContainerState.RUNNING:
            self._made[name] = replace(made, cpu=made.cpu + seconds)

    def say(self, name: str, text: str) -> None:
        """The container writes to its log."""
        made = self._made[name]
        self._made[name] = replace(made, log=made.log + text)

    def spec(self, name: str) -> ContainerSpec:
        """What the container was made from."""
        return self._made[name].spec

    # ---------------------------------------------------------------------------------- Protocol

    async def ping(self) -> EngineInfo:
        async with self._call("ping"):
            return EngineInfo(version="fake", warnings=self.warnings)

    async def image_id(self, reference: str) -> str:
        async with self._call("image_id"):
            return self._image(reference)

    async def ensure_network(self, name: str, *, bridge: str, subnet: str) -> str:
        network = IPv4Network(subnet)
        async with self._call("ensure_network"):
            self._refuse_stranger(name)
            if name not in self.networks:
                self._refuse_overlap(network, bridge)
                self.networks[name] = str(network)
            return self.networks[name]

    async def network(self, name: str) -> str | None:
        async with self._call("network"):
            self._refuse_stranger(name)
            return self.networks.get(name)

    async def remove_network(self, name: str) -> None:
        async with self._call("remove_network"):
            if any(made.spec.network == name for made in self._alive()):
                raise Conflict(f"network {name!r} is in use")
            self.networks.pop(name, None)

    async def attempt(
        self, targets: Sequence[tuple[str, int]], *, network: str, image: str
    ) -> Sequence[tuple[str, int]]:
        async with self._call("attempt"):
            self._image(image)
            if network not in self.networks:
                raise EngineUnavailable(f"attempt: network {network} not found")
            return [target for target in targets if target in self.reachable]

    async def ensure_home(self, volume: str, *, desktop_id: str, image: str, uid: int) -> None:
        async with self._call("ensure_home"):
            self._refuse_stranger(volume)
            found = self.volumes.get(volume)
            if found is not None and found.uid == uid:
                return
            self._image(image)
            if found is None:
                self.volumes[volume] = Home(desktop_id, uid)
            else:
                found.uid = uid

    async def bound_home(self, volume: str, *, image: str, uid: int, size: int) -> None:
        async with self._call("bound_home"):
            self._refuse_unbounded(image)
            self.bounds[volume] = uid, size

    async def check_bounds(self, *, image: str) -> None:
        async with self._call("check_bounds"):
            self._refuse_unbounded(image)

    async def remove_home(self, volume: str) -> None:
        async with self._call("remove_home"):
            self._refuse_used(volume)
            self.volumes.pop(volume, None)

    async def homes(self) -> Sequence[str]:
        async with self._call("homes"):
            return sorted(self.volumes)

    async def export_home(self, volume: str, *, image: str, sink: Callable[[bytes], None]) -> None:
        async with self._call("export_home"):
            self._refuse_stranger(volume)
            if volume not in self.volumes:
                raise NotFound(f"the home volume {volume!r} is gone")
            self._image(image)
            tar = packed(self.volumes[volume])
            for start in range(0, len(tar), tarfile.RECORDSIZE):
                sink(tar[start : start + tarfile.RECORDSIZE])

    async def import_home(
        self, volume: str, *, desktop_id: str, image: str, source: Iterator[bytes]
    ) -> None:
        async with self._call("import_home"):
            self._refuse_stranger(volume)
            self._image(image)
            self._refuse_used(volume)
            # Like the real one's, a volume that is half full when the source fails.
            self.volumes[volume] = Home(desktop_id, 0)
            self.volumes[volume] = unpacked(desktop_id, b"".join(source))

    async def create(self, spec: ContainerSpec) -> Container:
        if dict(spec.labels).get(LABEL_INSTANCE) != self.instance:
            raise ValueError(f"container {spec.name!r} is labelled as another instance's")
        container_config(spec)
        async with self._call("create"):
            self._refuse_stranger(spec.home_volume)
            if spec.home_volume not in self.volumes:
                raise NotFound(f"the home volume {spec.home_volume!r} is gone")
            self._image(spec.image)
            self._refuse_stranger(spec.name)
            made = self._made.get(spec.name)
            if made is None or _identity(made.spec) != _identity(spec):
                self._discard(spec.name)
                self._made[spec.name] = _Made(spec, _created(spec))
            return self._made[spec.name].state

    async def start(self, name: str) -> Container:
        async with self._call("start"):
            made = self._made.get(name)
            if made is None:
                raise NotFound(f"there is no container {name!r}")
            if made.state.state not in _ALIVE:
                self._refuse_start(made.spec)
                self._change(name, state=ContainerState.RUNNING, exit_code=None, oom_killed=False)
                self._made[name] = replace(self._made[name], cpu=0.0)
            return self._made[name].state

    async def remove(self, name: str, *, grace: float = 5.0) -> None:  # noqa: ARG002
        async with self._call("remove"):
            self._discard(name)

    async def kill(self, name: str) -> None:
        async with self._call("kill"):
            self._discard(name)

    async def pause(self, name: str) -> None:
        async with self._call("pause"):
            if self._running(name).state is ContainerState.RUNNING:
                self.outside_pause(name)

    async def unpause(self, name: str) -> None:
        async with self._call("unpause"):
            if self._running(name).state is ContainerState.PAUSED:
                self.outside_unpause(name)

    async def cpu_seconds(self, name: str) -> float | None:
        async with self._call("cpu_seconds"):
            made = self._made.get(name)
            return made.cpu if made is not None and made.state.state in _ALIVE else None

    async def usage(self, names: Sequence[str]) -> Mapping[str, Usage]:
        async with self._call("usage"):
            return {
                name: Usage(cpu=made.cpu, memory=_MEMORY)
                for name in names
                if (made := self._made.get(name)) is not None and made.state.state in _ALIVE
            }

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        mailbox = Mailbox(_WAITING_EVENTS)
        try:
            async with self._call("events"):
                self._mailboxes.add(mailbox)
            yield mailbox
        finally:
            self._mailboxes.discard(mailbox)
            mailbox.end("events: nobody listens any more")

    async def inspect(self, name: str) -> Container | None:
        async with self._call("inspect"):
            made = self._made.get(name)
            return None if made is None else made.state

    async def containers(self) -> Sequence[Container]:
        async with self._call("containers"):
            return [made.state for made in self._made.values()]

    async def tail(self, name: str, *, lines: int = 20) -> str:
        async with self._call("tail"):
            made = self._made.get(name)
            return "" if made is None else "".join(made.log.splitlines(keepends=True)[-lines:])

    async def close(self) -> None:
        self._closed = True
        self.lose_events()

    # ----------------------------------------------------------------------------------- helpers

    @asynccontextmanager
    async def _call(self, method: str) -> AsyncIterator[None]:
        self.calls.append(method)
        if self.before is not None:
            await self.before(method)
        if self.down or self._closed:
            raise EngineUnavailable(f"{method}: the engine is down")
        fault = self._next_fault(method)
        if fault is not None and not fault.after_effect:
            raise fault.error
        yield
        if self.after is not None:
            await self.after(method)
        if fault is not None:
            raise fault.error

    def _next_fault(self, method: str) -> _Fault | None:
        waiting = self._faults.get(method)
        return waiting.pop(0) if waiting else None

    def _image(self, reference: str) -> str:
        if reference in self.images.values():
            return reference
        try:
            return self.images[reference]
        except KeyError:
            raise ImageMissing(f"image {reference!r} is not on the engine's host") from None

    def _refuse_unbounded(self, image: str) -> None:
        self._image(image)
        if self.unbounded is not None:
            raise HomeUnbounded(self.unbounded)

    def _refuse_stranger(self, name: str) -> None:
        if name in self.held_names:
            raise Conflict(f"the engine's {name!r} belongs to somebody else")

    def _refuse_used(self, volume: str) -> None:
        if any(made.spec.home_volume == volume for made in self._made.values()):
            raise Conflict(f"volume {volume!r} is in use")

    def _refuse_overlap(self, network: IPv4Network, bridge: str) -> None:
        for subnet in (*self.held_subnets, *self.networks.values()):
            if network.overlaps(IPv4Network(subnet)):
                raise Conflict(f"{network} of {bridge} overlaps with {subnet}")

    def _refuse_start(self, spec: ContainerSpec) -> None:
        if spec.network not in self.networks:
            raise EngineUnavailable(f"start: network {spec.network} not found")
        others = [made.spec for made in self._alive()]
        if spec.address in self.held_addresses | {other.address for other in others}:
            raise AddressTaken(spec.address)
        if spec.port in self.held_ports | {other.port for other in others}:
            raise PortTaken(spec.port)

    def _running(self, name: str) -> Container:
        made = self._made.get(name)
        if made is None or made.state.state not in _ALIVE:
            raise NotFound(f"container {name!r} does not run")
        return made.state

    def _discard(self, name: str) -> None:
        if name in self._made:
            self.vanish(name)

    def _tell(self, kind: EventKind, name: str) -> None:
        session = self._made[name].state.session_id
        for mailbox in self._mailboxes:
            mailbox.put(EngineEvent(kind=kind, name=name, session_id=session))

    def _alive(self) -> list[_Made]:
        return [made for made in self._made.values() if made.state.state in _ALIVE]

    def _change(
        self,
        name: str,
        *,
        state: ContainerState,
        exit_code: int | None = None,
        oom_killed: bool = False,
    ) -> None:
        made = self._made[name]
        changed = replace(made.state, state=state, exit_code=exit_code, oom_killed=oom_killed)
        self._made[name] = replace(made, state=changed)


def _image_id(reference: str) -> str:
    return f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}"


def _created(spec: ContainerSpec) -> Container:
    labels = dict(spec.labels)
    return Container(
        name=spec.name,
        state=ContainerState.CREATED,
        desktop_id=labels[LABEL_DESKTOP],
        session_id=spec.session_id,
        spec_hash=labels.get(LABEL_SPEC, ""),
        address=spec.address,
        exit_code=None,
        oom_killed=False,
    )


def _identity(spec: ContainerSpec) -> tuple[str, str | None]:
    return spec.session_id, dict(spec.labels).get(LABEL_SPEC)
