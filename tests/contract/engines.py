"""The engines that the contract is held against, and what a test does to the world around them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import io
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import tarfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import docker
from docker.errors import NotFound

from broker.core.errors import Conflict, EngineUnavailable
from broker.core.model import InstanceId, new_id
from broker.core.spec import (
    LABEL_DESKTOP,
    LABEL_INSTANCE,
    LABEL_SESSION,
    ContainerSpec,
    FileMount,
    bridge_name,
    container_name,
    home_volume,
    network_name,
    with_hash,
)
from broker.engine.cgroups import set_frozen
from broker.engine.docker import DockerEngine
from broker.engine.fake import FakeEngine
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from broker.core.interfaces import Engine

ROOT = Path(__file__).parents[2]
LABEL_TEST = "desk.test"
UID = 20001
MEMORY = 64 << 20


class World(Protocol):
    """An engine under test, and the hands of strangers on the same host."""

    engine: Engine
    instance: InstanceId
    image: str
    subnet: str

    def spec(self, **changes: Any) -> ContainerSpec:
        """A spec of a new session; network and home are to be made first."""

    async def ready(self, **changes: Any) -> ContainerSpec:
        """The same, with its network and home made."""

    async def stranger(self, name: str, *, instance: str | None = None) -> None:
        """A container of somebody else's: without our label, or with another instance's."""

    async def is_there(self, name: str) -> bool: ...

    async def hold_address(self, address: str) -> None:
        """A running container of somebody else's takes the address on our bridge."""

    def hold_port(self, port: int) -> contextlib.AbstractContextManager[None]: ...

    def listening(self, address: str) -> contextlib.AbstractContextManager[int]:
        """Somebody takes connections at an address of the host's; yields the port."""

    async def foreign_network(self, name: str, subnet: str) -> None: ...

    async def foreign_volume(self, name: str) -> None: ...

    async def kill(self, name: str) -> None: ...

    async def pause(self, name: str) -> None: ...

    async def unpause(self, name: str) -> None: ...

    async def vanish(self, name: str) -> None: ...

    async def end_stranger(self, name: str) -> None: ...

    async def burn(self, name: str) -> None:
        """Its programs compute for a while, as far as they may."""

    async def freeze_unnoticed(self, name: str, *, frozen: bool) -> None:
        """What an engine leaves that is killed between the kernel's work and its own note of it;
        nothing where the two are one.
        """

    async def lose_events(self) -> None:
        """The engine goes away from whoever listens."""

    async def write_home(self, name: str, file: str) -> None: ...

    async def home_has(self, volume: str, file: str) -> bool: ...

    async def home_owner(self, volume: str) -> int: ...

    async def fill_home(self, name: str) -> None:
        """Put what homes can hold into a running container's."""

    async def home_looks(self, volume: str) -> list[str]:
        """All that is in it, told well enough to compare it."""

    def lose_reply(self, method: str) -> None:
        """The next call of the method has its effect, and its caller gets an error."""


@dataclass
class Specs:
    """Makes specs whose leases nobody else has."""

    instance: InstanceId
    image: str
    files: Path
    octets: tuple[int, int] = (213, 0)
    count: int = 20

    @property
    def subnet(self) -> str:
        return f"10.{self.octets[0]}.{self.octets[1]}.0/22"

    def make(self, **changes: Any) -> ContainerSpec:
        self.count += 1
        session, desktop = new_id(), new_id()
        directory = self.files / session
        directory.mkdir(parents=True)
        files = []
        for name, target, text in (
            ("passwd", "/etc/passwd", f"desk:x:{UID}:{UID}::/home/desk:/bin/sh\n"),
            ("host_key", "/etc/desk/host_key", "key\n"),
        ):
            (directory / name).write_text(text)
            files.append(FileMount(str(directory / name), target))
        spec = ContainerSpec(
            name=container_name(session),
            image=self.image,
            hostname=desktop,
            uid=UID,
            environment=(("DESK_SESSION", session),),
            files=tuple(files),
            home_volume=home_volume(desktop),
            network=network_name(self.instance),
            address=f"10.{self.octets[0]}.{self.octets[1]}.{self.count}",
            port=free_port(),
            resolvers=("192.0.2.53",),
            memory=MEMORY,
            cpus=0.5,
            pids=32,
            shm=8 << 20,
            labels=(
                (LABEL_DESKTOP, desktop),
                (LABEL_INSTANCE, self.instance),
                (LABEL_SESSION, session),
            ),
        )
        return with_hash(replace(spec, **changes))


def desktop_of(spec: ContainerSpec) -> str:
    return dict(spec.labels)[LABEL_DESKTOP]


# ---------------------------------------------------------------------------------------- memory


class FakeWorld:
    def __init__(self, files: Path) -> None:
        self.instance = InstanceId(new_id())
        self.image = "desk-test:fake"
        self.engine = FakeEngine(self.instance, images=(self.image,))
        self._specs = Specs(self.instance, self.image, files)
        self.subnet = self._specs.subnet

    def spec(self, **changes: Any) -> ContainerSpec:
        return self._specs.make(**changes)

    async def ready(self, **changes: Any) -> ContainerSpec:
        return await _ready(self, self.spec(**changes))

    async def stranger(self, name: str, *, instance: str | None = None) -> None:
        self.engine.held_names.add(name)

    async def is_there(self, name: str) -> bool:
        return name in self.engine.held_names or await self.engine.inspect(name) is not None

    async def hold_address(self, address: str) -> None:
        self.engine.held_addresses.add(address)

    @contextlib.contextmanager
    def hold_port(self, port: int) -> Iterator[None]:
        self.engine.held_ports.add(port)
        yield
        self.engine.held_ports.discard(port)

    @contextlib.contextmanager
    def listening(self, address: str) -> Iterator[int]:
        self.engine.reachable.add((address, 4711))
        yield 4711
        self.engine.reachable.discard((address, 4711))

    async def foreign_network(self, name: str, subnet: str) -> None:
        self.engine.held_names.add(name)
        self.engine.held_subnets.add(subnet)

    async def foreign_volume(self, name: str) -> None:
        self.engine.held_names.add(name)

    async def kill(self, name: str) -> None:
        self.engine.die(name)

    async def pause(self, name: str) -> None:
        self.engine.outside_pause(name)

    async def unpause(self, name: str) -> None:
        self.engine.outside_unpause(name)

    async def vanish(self, name: str) -> None:
        self.engine.vanish(name)

    async def end_stranger(self, name: str) -> None:
        self.engine.held_names.discard(name)

    async def burn(self, name: str) -> None:
        self.engine.burn(name, 0.1)

    async def freeze_unnoticed(self, name: str, *, frozen: bool) -> None:
        del name, frozen

    async def lose_events(self) -> None:
        self.engine.lose_events()

    async def write_home(self, name: str, file: str) -> None:
        self.engine.volumes[self.engine.spec(name).home_volume].files[file] = ""

    async def home_has(self, volume: str, file: str) -> bool:
        return file in self.engine.volumes[volume].files

    async def home_owner(self, volume: str) -> int:
        return self.engine.volumes[volume].uid

    async def fill_home(self, name: str) -> None:
        files = self.engine.volumes[self.engine.spec(name).home_volume].files
        files |= {"thesis.txt": "draft", "two\nlines ü": "x", "big": "0123456789" * 100_000}

    async def home_looks(self, volume: str) -> list[str]:
        home = self.engine.volumes[volume]
        return [str(home.uid), *(f"{name}: {text}" for name, text in sorted(home.files.items()))]

    def lose_reply(self, method: str) -> None:
        self.engine.fail_next(method, EngineUnavailable("the reply was lost"), after_effect=True)


async def _ready(world: World, spec: ContainerSpec) -> ContainerSpec:
    engine = world.engine
    await engine.ensure_network(
        spec.network, bridge=bridge_name(world.instance), subnet=world.subnet
    )
    await engine.ensure_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=spec.uid
    )
    return spec


# ------------------------------------------------------------------------------------------ real


class RealWorld:
    """A Docker engine, with a second client as the strangers' hands and a cutting proxy between."""

    def __init__(self, host: str, raw: docker.APIClient, proxy: Proxy, files: Path) -> None:
        self.host = host
        self.raw = raw
        self.proxy = proxy
        self.instance = InstanceId(new_id())
        self.image = test_image(host)
        self.engine = DockerEngine(self.instance, base_url=f"unix://{proxy.path}")
        self._specs = Specs(self.instance, self.image, files, (213, 4 * random.randrange(64)))
        self._burning: set[str] = set()

    @property
    def subnet(self) -> str:
        return self._specs.subnet

    def spec(self, **changes: Any) -> ContainerSpec:
        return self._specs.make(**changes)

    async def ready(self, **changes: Any) -> ContainerSpec:
        await self.network()
        return await _ready(self, self.spec(**changes))

    async def network(self) -> str:
        """Make the network, on a subnet that no other test uses just now."""
        name, bridge = network_name(self.instance), bridge_name(self.instance)
        for _ in range(50):
            try:
                return await self.engine.ensure_network(name, bridge=bridge, subnet=self.subnet)
            except Conflict:
                self._specs.octets = (213, 4 * random.randrange(64))
        raise AssertionError("no free subnet in 10.213.0.0/16")

    async def stranger(self, name: str, *, instance: str | None = None) -> None:
        labels = {LABEL_TEST: self.instance}
        if instance is not None:
            labels |= {LABEL_INSTANCE: instance, LABEL_SESSION: "s", LABEL_DESKTOP: "d"}
        self._run(name, labels, {"NetworkMode": "none"})

    async def is_there(self, name: str) -> bool:
        try:
            self.raw.inspect_container(name)
        except NotFound:
            return False
        return True

    async def hold_address(self, address: str) -> None:
        network = network_name(self.instance)
        endpoints = {network: {"IPAMConfig": {"IPv4Address": address}}}
        self._run(
            f"holder-{secrets.token_hex(4)}",
            {LABEL_TEST: self.instance},
            {"NetworkMode": network},
            NetworkingConfig={"EndpointsConfig": endpoints},
        )

    @contextlib.contextmanager
    def hold_port(self, port: int) -> Iterator[None]:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            sock.listen()
            yield

    @contextlib.contextmanager
    def listening(self, address: str) -> Iterator[int]:
        with socket.create_server((address, 0)) as listener:
            yield listener.getsockname()[1]

    async def foreign_network(self, name: str, subnet: str) -> None:
        pools = [docker.types.IPAMPool(subnet=subnet)]
        self.raw.create_network(
            name,
            driver="bridge",
            labels={LABEL_TEST: self.instance},
            ipam=docker.types.IPAMConfig(pool_configs=pools),
        )

    async def foreign_volume(self, name: str) -> None:
        self.raw.create_volume(name, labels={LABEL_TEST: self.instance})

    async def kill(self, name: str) -> None:
        self.raw.kill(name)
        await asyncio.to_thread(self.raw.wait, name)

    async def pause(self, name: str) -> None:
        self.raw.pause(name)

    async def unpause(self, name: str) -> None:
        self.raw.unpause(name)

    async def vanish(self, name: str) -> None:
        self.raw.remove_container(name, force=True)

    async def end_stranger(self, name: str) -> None:
        self.raw.remove_container(name, force=True)

    async def burn(self, name: str) -> None:
        if name not in self._burning:
            self._burning.add(name)
            self.run_detached(name, "while :; do :; done")
        await asyncio.sleep(0.2)

    async def freeze_unnoticed(self, name: str, *, frozen: bool) -> None:
        found = self.raw.inspect_container(name)
        assert set_frozen(found["Id"], found["State"]["Pid"], frozen=frozen)

    async def lose_events(self) -> None:
        self.proxy.hang_up()

    async def write_home(self, name: str, file: str) -> None:
        self.run_in(name, "touch", f"/home/desk/{file}")

    async def home_has(self, volume: str, file: str) -> bool:
        return self._looked(volume, f"[ -e /home/desk/{file} ] && echo yes || true") == "yes"

    async def home_owner(self, volume: str) -> int:
        return int(self._looked(volume, "stat -c %u /home/desk"))

    async def fill_home(self, name: str) -> None:
        self.run_in(name, "/bin/sh", "-c", _FILL)

    async def home_looks(self, volume: str) -> list[str]:
        return (await asyncio.to_thread(self._looked, volume, _LOOK)).split("\0")

    def lose_reply(self, method: str) -> None:
        self.proxy.cut(
            {
                "ensure_network": rb"POST \S+/networks/create ",
                "remove_network": rb"DELETE \S+/networks/",
                "ensure_home": rb"POST \S+/containers/create",
                "remove_home": rb"DELETE \S+/volumes/",
                "import_home": rb"PUT \S+/archive",
                "create": rb"POST \S+/containers/create",
                "start": rb"POST \S+/start ",
                "remove": rb"DELETE \S+/containers/",
                "kill": rb"DELETE \S+/containers/",
                "pause": rb"POST \S+/pause ",
                "unpause": rb"POST \S+/unpause ",
            }[method]
        )

    def run_in(self, name: str, *command: str) -> str:
        made = self.raw.exec_create(name, list(command))
        output = self.raw.exec_start(made["Id"]).decode()
        assert self.raw.exec_inspect(made["Id"])["ExitCode"] == 0, output
        return output

    def run_detached(self, name: str, script: str) -> None:
        made = self.raw.exec_create(name, ["/bin/sh", "-c", script])
        self.raw.exec_start(made["Id"], detach=True)

    def _looked(self, volume: str, script: str) -> str:
        """What a container that looks at the volume prints."""
        mounts = [{"Type": "volume", "Source": volume, "Target": "/home/desk"}]
        name = f"look-{secrets.token_hex(4)}"
        labels = {LABEL_TEST: self.instance}
        config = {"NetworkMode": "none", "Mounts": mounts}
        self._run(name, labels, config, Entrypoint=["/bin/sh", "-c"], Cmd=[script])
        self.raw.wait(name)
        output = self.raw.logs(name).decode(errors="replace").strip()
        self.raw.remove_container(name)
        return output

    def _run(self, name: str, labels: dict[str, str], host: dict[str, Any], **more: Any) -> None:
        config = {"Image": self.image, "Labels": labels, "HostConfig": host, **more}
        self.raw.create_container_from_config(config, name)
        self.raw.start(name)

    def sweep(self) -> None:
        """Remove all that carries this test's labels."""
        labels = (f"{LABEL_INSTANCE}={self.instance}", f"{LABEL_TEST}={self.instance}")
        for filters in ({"label": label} for label in labels):
            for container in self.raw.containers(all=True, filters=filters):
                with contextlib.suppress(NotFound):
                    self.raw.remove_container(container["Id"], force=True, v=True)
        for filters in ({"label": label} for label in labels):
            for volume in self.raw.volumes(filters=filters)["Volumes"] or ():
                self.raw.remove_volume(volume["Name"])
            for network in self.raw.networks(filters=filters):
                self.raw.remove_network(network["Id"])


@contextlib.asynccontextmanager
async def real_world(host: str, files: Path) -> AsyncIterator[RealWorld]:
    raw = docker.APIClient(base_url=host, version="auto", timeout=60)
    try:
        async with Proxy(host.removeprefix("unix://")) as proxy:
            world = RealWorld(host, raw, proxy, files)
            try:
                yield world
            finally:
                await world.engine.close()
                world.sweep()
    finally:
        raw.close()


class Proxy:
    """Passes on what goes to the engine's socket, and loses a reply when it is told to."""

    def __init__(self, target: str) -> None:
        self.path = f"/tmp/desk-proxy-{secrets.token_hex(6)}.sock"
        self._target = target
        self._cut: re.Pattern[bytes] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()

    def cut(self, request: bytes) -> None:
        """The next request that matches reaches the engine, and its reply nobody."""
        self._cut = re.compile(request)

    def hang_up(self) -> None:
        """Every connection that stands is cut."""
        for writer in self._clients:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        await asyncio.gather(*self._serving)
        Path(self.path).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        up_reader, up_writer = await asyncio.open_unix_connection(self._target)
        losing = asyncio.Event()
        self._clients.add(writer)
        async with asyncio.TaskGroup() as pumps:
            pumps.create_task(self._requests(reader, up_writer, losing))
            pumps.create_task(self._replies(up_reader, writer, losing))
        self._clients.discard(writer)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        async with closing(writer):
            while data := await reader.read(65536):
                if self._cut is not None and self._cut.match(data):
                    self._cut = None
                    losing.set()
                writer.write(data)
                await writer.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        async with closing(writer):
            while data := await reader.read(65536):
                if losing.is_set():
                    return
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    with contextlib.suppress(ConnectionError):
        try:
            yield
        finally:
            writer.close()
            await writer.wait_closed()


# ----------------------------------------------------------------------------------------- image


@cache
def engine_host() -> str:
    """The engine to test with; a missing one is an error, never a skip."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    script = ROOT / "docker" / "engine.sh"
    done = subprocess.run([script, "up"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"No container engine for the tests: {script} up: {done.stderr}")
    return done.stdout.strip()


@cache
def test_image(host: str) -> str:
    """A few MB of this host's own tools, imported once per engine and named by their hash."""
    archive = _archive()
    tag = hashlib.sha256(archive).hexdigest()[:12]
    command = 'echo started; trap "exit 0" TERM; sleep 3600 & wait'
    changes = [
        f'CMD ["/bin/sh", "-c", "{command.replace(chr(34), chr(92) + chr(34))}"]',
        "ENTRYPOINT []",
    ]
    with (
        Path(__file__).open() as own,
        contextlib.closing(docker.APIClient(host, "auto", 60)) as client,
    ):
        fcntl.flock(own, fcntl.LOCK_EX)  # two workers would import it twice
        try:
            client.inspect_image(f"desk-test:{tag}")
        except NotFound:
            client.import_image_from_data(archive, repository="desk-test", tag=tag, changes=changes)
    return f"desk-test:{tag}"


test_image.__test__ = False  # type: ignore[attr-defined]


#: What a test image can do.
_TOOLS = (
    *("sh", "bash", "timeout", "sleep", "stat", "chown", "cat", "id", "ls", "touch"),
    *("ln", "mkdir", "chmod", "mkfifo", "find", "sort", "sha256sum", "dd"),
)

_LONG = "n" * 120

#: All that homes can hold: names, modes, times, links that climb and links to nothing.
_FILL = rf"""
set -eu
cd /home/desk
chmod 0710 .
mkdir -p empty deep/{_LONG}/{_LONG}
chmod 1777 empty
echo one > deep/one
ln deep/one deep/same
ln -s one deep/link
ln -s nowhere dangling
ln -s ../../../../etc/passwd climbing
ln -s / root
mkfifo pipe
echo x > 'two
lines'
echo x > 'ü "quoted" \ and spaced'
echo x > "$(printf 'rawÿ')"
echo x > .wh.hidden
echo x > deep/{_LONG}/{_LONG}/end
: > nothing
dd if=/dev/urandom of=random bs=1048576 count=20 2>/dev/null
dd if=/dev/zero of=holes bs=1 count=1 seek=80000000 2>/dev/null
chmod 4750 deep/one
chmod 0 nothing
touch -d '2001-02-03 04:05:06' deep/one empty
touch -h -d '2002-02-03 04:05:06' dangling
"""

#: A record each with a NUL behind it; a directory's size is the file system's own affair.
_LOOK = r"""
cd /home/desk
find . -type d -printf '%p %y %m %U %G %Ts\0' -o -printf '%p %y %m %U %G %Ts %n %s %l\0' | sort -z
find . -type f -exec sha256sum -z {} + | sort -z
"""


def _archive() -> bytes:
    files = {}
    for tool in _TOOLS:
        path = shutil.which(tool)
        assert path is not None, f"this host has no {tool}"
        files[f"bin/{tool}"] = path
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        files |= {word.lstrip("/"): word for word in listed.split() if word.startswith("/")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in sorted(files.items()):
            _add(archive, name, Path(path).resolve().read_bytes(), mode=0o755)
        # Debian makes homes private: what is in one has to be found none the less.
        _add(archive, "home/desk", None, mode=0o700, owner=1000)
        _add(archive, "home/desk/.profile", b"# skeleton\n", mode=0o600, owner=1000)
        _add(archive, "home/desk/.config", None, mode=0o700, owner=1000)
        _add(archive, "home/desk/.config/deep", b"deep\n", mode=0o600, owner=1000)
        _add(archive, "etc/desk", None, mode=0o755)
    return buffer.getvalue()


def _add(
    archive: tarfile.TarFile, name: str, data: bytes | None, *, mode: int, owner: int = 0
) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = mode, owner, owner
    if data is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    else:
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
