"""Docker behind the `Engine` Protocol."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from docker.errors import APIError

from broker.core.errors import EngineUnavailable, ImageMissing, NotFound
from broker.core.interfaces import EngineInfo
from broker.core.spec import LABEL_INSTANCE
from broker.engine.canary import Canaries
from broker.engine.containers import Containers
from broker.engine.events import Subscription
from broker.engine.executor import Calls, Deadline, status
from broker.engine.facts import shortcomings
from broker.engine.homes import Homes
from broker.engine.hostconfig import container_config
from broker.engine.network import Networks
from broker.engine.quotas import Quotas
from broker.engine.transfers import Gate, Transfers
from broker.engine.transport import Link
from broker.engine.uses import Uses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from broker.core.interfaces import Container, EngineEvent, Usage
    from broker.core.spec import ContainerSpec
    from broker.engine.executor import Told
    from broker.engine.facts import Json

#: Seconds for a look, and for a deed.
_LOOK = 10.0
_DEED = 60.0

#: For a sample of what a container uses: many are taken at once, and an engine may need a second
#: for each.
_SAMPLE = 30.0

#: For a whole home on its way, which no single pause of `transfers.STALL` may hold up.
_TRANSFER = 86_400.0

#: Calls at once: looks have threads of their own, or they would time out behind slow deeds, and
#: behind slow samples.
_LOOKING = 4
_DOING = 12
_SAMPLING = 8

#: One home leaves at a time; for those that come somebody waits.
_EXPORTING = 1
_IMPORTING = 4

#: Calls that wait for their turn.
_WAITING = 500

#: How long `close` lets calls come to their end.
_CLOSE_GRACE = 5.0


class DockerEngine:
    """One Docker engine, seen through one instance's label. Making one does no I/O.

    Each method runs as one piece in a thread, so that a cancelled caller leaves no half of it.
    """

    def __init__(
        self,
        instance: str,
        *,
        base_url: str,
        close_grace: float = _CLOSE_GRACE,
        told: Told = lambda _what, _seconds, _failed: None,
    ) -> None:
        """`told` hears of each call, as of `Calls`."""
        self._instance = instance
        self._base_url = base_url
        self._deadline = deadline = Deadline()
        self._looks = Calls(threads=_LOOKING, waiting=_WAITING, deadline=deadline, told=told)
        self._deeds = Calls(threads=_DOING, waiting=_WAITING, deadline=deadline, told=told)
        self._samples = Calls(threads=_SAMPLING, waiting=_WAITING, deadline=deadline, told=told)
        self._exports = Calls(threads=_EXPORTING, waiting=_WAITING, deadline=deadline, told=told)
        self._imports = Calls(threads=_IMPORTING, waiting=_WAITING, deadline=deadline, told=told)
        threads = _LOOKING + _DOING + _SAMPLING + _EXPORTING + _IMPORTING
        self._link = Link(base_url, deadline=deadline, connections=threads)
        self._close_grace = close_grace
        self._networks = Networks(instance, self._link)
        self._homes = Homes(instance, self._link)
        self._quotas = Quotas(self._homes, self._link)
        self._transfers = Transfers(self._homes, self._link, deadline)
        self._canaries = Canaries(instance, self._link)
        self._containers = Containers(instance, self._link, self._deeds)
        self._uses = Uses(self._containers.place)
        self._subscriptions: set[Subscription] = set()

    async def ping(self) -> EngineInfo:
        return await self._looks.run("ping", _LOOK, self._ping)

    async def image_id(self, reference: str) -> str:
        return await self._looks.run("image", _LOOK, partial(self._image_id, reference))

    async def ensure_network(self, name: str, *, bridge: str, subnet: str) -> str:
        network = IPv4Network(subnet)
        ensure = partial(self._networks.ensure, name, bridge=bridge, subnet=network)
        return await self._deeds.run("network", _DEED, ensure)

    async def network(self, name: str) -> str | None:
        return await self._looks.run("network", _LOOK, partial(self._networks.subnet, name))

    async def remove_network(self, name: str) -> None:
        remove = partial(self._networks.remove, name)
        await self._deeds.run("network removal", _DEED, remove)

    async def attempt(
        self, targets: Sequence[tuple[str, int]], *, network: str, image: str
    ) -> Sequence[tuple[str, int]]:
        attempt = partial(self._canaries.attempt, targets, network=network, image=image)
        return await self._deeds.run("canary", _DEED, attempt)

    async def ensure_home(self, volume: str, *, desktop_id: str, image: str, uid: int) -> None:
        ensure = partial(self._homes.ensure, volume, desktop_id=desktop_id, image=image, uid=uid)
        await self._deeds.run("home", _DEED, ensure)

    async def bound_home(self, volume: str, *, image: str, uid: int, size: int) -> None:
        bound = partial(self._quotas.bound, volume, image=image, uid=uid, size=size)
        await self._deeds.run("home bound", _DEED, bound)

    async def check_bounds(self, *, image: str) -> None:
        check = partial(self._quotas.check, image, name=f"desk-quota-{self._instance}")
        await self._deeds.run("home bound", _DEED, check)

    async def remove_home(self, volume: str) -> None:
        await self._deeds.run("home removal", _DEED, partial(self._homes.remove, volume))

    async def homes(self) -> Sequence[str]:
        return await self._looks.run("homes", _LOOK, self._homes.names)

    async def export_home(self, volume: str, *, image: str, sink: Callable[[bytes], None]) -> None:
        with Gate() as gate:
            export = partial(self._transfers.export, volume, image=image, sink=gate.into(sink))
            await self._exports.run("home export", _TRANSFER, export)

    async def import_home(
        self, volume: str, *, desktop_id: str, image: str, source: Iterator[bytes]
    ) -> None:
        with Gate() as gate:
            load = partial(
                self._transfers.load,
                volume,
                desktop_id=desktop_id,
                image=image,
                source=gate.out_of(source),
            )
            await self._imports.run("home import", _TRANSFER, load)

    async def create(self, spec: ContainerSpec) -> Container:
        if dict(spec.labels).get(LABEL_INSTANCE) != self._instance:
            raise ValueError(f"container {spec.name!r} is labelled as another instance's")
        create = partial(self._create, spec, container_config(spec))
        return await self._deeds.run("create", _DEED, create)

    async def start(self, name: str) -> Container:
        return await self._deeds.run("start", _DEED, partial(self._containers.start, name))

    async def remove(self, name: str, *, grace: float = 5.0) -> None:
        remove = partial(self._containers.remove, name, grace=grace)
        await self._deeds.run("remove", _DEED + grace, remove)

    async def kill(self, name: str) -> None:
        await self._deeds.run("kill", _DEED, partial(self._containers.kill, name))

    async def pause(self, name: str) -> None:
        await self._deeds.run("pause", _DEED, partial(self._containers.pause, name))

    async def unpause(self, name: str) -> None:
        await self._deeds.run("unpause", _DEED, partial(self._containers.unpause, name))

    async def cpu_seconds(self, name: str) -> float | None:
        return await self._samples.run("cpu", _SAMPLE, partial(self._containers.cpu_seconds, name))

    async def usage(self, names: Sequence[str]) -> Mapping[str, Usage]:
        return await self._samples.run("usage", _SAMPLE, partial(self._uses.of, names))

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        if self._looks.closing.is_set():
            raise EngineUnavailable("events: the connection to the engine is closed")
        link = Link(self._base_url, deadline=self._deadline, connections=1)
        subscription = Subscription(self._instance, link, self._deadline)
        self._subscriptions.add(subscription)
        try:
            await subscription.stands()
            yield subscription.events
        finally:
            await subscription.close("events: nobody listens any more")
            self._subscriptions.discard(subscription)

    async def inspect(self, name: str) -> Container | None:
        return await self._looks.run("inspect", _LOOK, partial(self._containers.inspect, name))

    async def containers(self) -> Sequence[Container]:
        return await self._looks.run("list", _LOOK, self._containers.all)

    async def tail(self, name: str, *, lines: int = 20) -> str:
        tail = partial(self._containers.tail, name, lines=lines)
        return await self._looks.run("log", _LOOK, tail)

    async def close(self) -> None:
        end = partial(Calls.close, grace=self._close_grace, abort=self._link.abort)
        closed = "events: the connection to the engine is closed"
        await asyncio.gather(
            *(end(calls) for calls in self._calls()),
            *(subscription.close(closed) for subscription in self._subscriptions),
        )
        self._link.close()

    def _calls(self) -> tuple[Calls, ...]:
        return (self._looks, self._deeds, self._samples, self._exports, self._imports)

    def _ping(self) -> EngineInfo:
        info = self._link.negotiate().info()
        return EngineInfo(version=str(info["ServerVersion"]), warnings=tuple(shortcomings(info)))

    def _create(self, spec: ContainerSpec, config: Json) -> Container:
        # The engine would make a missing volume, empty: a lost home has to be told, not replaced.
        if self._homes.find(spec.home_volume) is None:
            raise NotFound(f"the home volume {spec.home_volume!r} is gone")
        return self._containers.create(spec, config)

    def _image_id(self, reference: str) -> str:
        try:
            return str(self._link.image(reference)["Id"])
        except APIError as error:
            if status(error) == 400:
                raise ImageMissing(f"{reference!r} cannot name an image") from error
            raise
