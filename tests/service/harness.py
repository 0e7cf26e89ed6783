"""A whole service layer over a real store and an engine in memory, and what outlives it."""

from __future__ import annotations

import asyncio
import atexit
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

import asyncssh
import yaml

from broker.config import Config
from broker.core.gateway import Identity, Login, OfferedKey
from broker.core.interfaces import ContainerState
from broker.core.model import LeaseKind, SessionState
from broker.core.spec import container_name, home_volume
from broker.db.migrate import migrate
from broker.db.sqlite import open_engine
from broker.db.store import SqlStore
from broker.engine.fake import FakeEngine
from broker.service.archives import Packing
from broker.service.files import SessionKeys
from broker.service.host import Host
from broker.service.inside import Notice, Question
from broker.service.reconciler import SECOND_LOOK
from broker.service.reload import Reload
from broker.service.services import Services
from broker.system.fakenft import FakeFilter
from broker.system.guard import Guard
from broker.telemetry import Metrics
from tests.clocks import ManualClock
from tests.contract.stores import AUDIT_KEY
from tests.scratch import new_directory

IMAGE = "desk:latest"

#: Calls of the engine that change something; `ensure_network` is asked once by every broker.
WRITES = frozenset(
    {
        "ensure_home",
        "remove_home",
        "create",
        "start",
        "remove",
        "remove_network",
        "kill",
        "pause",
        "unpause",
        "import_home",
    }
)

#: The port at which the canary is let in, if anywhere.
BAIT = 4711

#: Methods of the store that change nothing.
STORE_READS = frozenset(
    [
        "instance",
        "user",
        "user_by_id",
        "users",
        "keys",
        "key_owner",
        "homes",
        "desktop",
        "desktop_of",
        "desktops",
        "unused_desktops",
        "archived_desktops",
        "session",
        "live_session",
        "last_session",
        "live_sessions",
        "live_owners",
        "addresses",
        "deadlines",
        "last_deadlines",
        "session_of_display",
        "leases",
        "count_leases",
        "drain",
        "audit_head",
        "password",
        "codes",
        "invites",
        "invite_of",
        "tokens",
        "token",
        "token_of",
        "sign_in",
        "sign_in_of",
        "sign_ins",
        "user_vouched",
        "share",
        "share_of",
        "shares",
        "expired_shares",
        "guest",
        "guest_of",
        "asked_guests",
        "group",
        "groups",
        "groups_of",
        "members",
        "audit",
        "audit_chain",
        "verify_audit",
    ]
)

#: What record and container are of a session that nobody works on.
AT_REST = {
    (SessionState.READY, ContainerState.RUNNING),
    (SessionState.FROZEN, ContainerState.PAUSED),
}

#: The longest that a test waits for what another task does, in seconds of the real clock.
PATIENCE = 10.0


def memory_directory() -> Path:
    """For the caller to remove; each commit waits for the disk elsewhere."""
    return new_directory(memory=True)


class FakeProbe:
    """Desktops answer at once while `answering` is set, else when it is."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = asyncio.Event()
        self.seen = []

    def hold(self) -> None:
        """From now on desktops do not answer; `asked` tells when the next one is asked."""
        self.answering.clear()
        self.asked.clear()

    async def wait(self, endpoints, access) -> None:
        self.seen.append((endpoints, access))
        self.asked.set()
        await self.answering.wait()


class FakeConnections:
    """What people have open at the doors; remembers whose were ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.sent_away: list[tuple[str, str]] = []
        """Session and sentence."""
        self.penalties: list[tuple] = []
        """Each with the door that said so."""

    def end_user(self, user_id: str, sentence: str) -> None:
        assert sentence.endswith(".")
        self.ended.append(user_id)

    def end_credential(self, fingerprint: str, sentence: str) -> None:
        assert sentence.endswith(".")
        self.ended.append(fingerprint)

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        assert sentence.endswith(".")
        self.sent_away.append((session_id, sentence))

    def penalise(self, penalty, *, by: str) -> None:
        self.penalties.append((penalty, by))


class FakeInside:
    """Desktops as the broker sees them from inside: what a test says of them."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.left: list[str] = []
        self.told: list[tuple[str, Notice]] = []
        self.idle: dict[str, float] = {}
        """Seconds since the last key or pointer in a desktop, by session."""
        self.questions: list[tuple[str, Question]] = []
        self.sizes: list[tuple[str, int, int]] = []
        self.deaf: set[str] = set()
        """Sessions that take no notice."""

    def hold(self, sessions) -> None:
        self.held = {session.id for session in sessions}

    async def input_age(self, session_id):
        return self.idle.get(session_id)

    async def tell(self, session_id, notice) -> bool:
        if session_id in self.deaf:
            return False
        self.told.append((session_id, notice))
        return True

    async def ask(self, session_id, question) -> bool:
        self.questions.append((session_id, question))
        return session_id not in self.deaf

    async def resize(self, session_id, width, height) -> bool:
        if session_id in self.deaf:
            return False
        self.sizes.append((session_id, width, height))
        return True

    async def leave(self, session_id) -> None:
        self.left.append(session_id)

    async def close(self) -> None:
        self.held = set()


class ConfigFile:
    """The file that a broker was made from, for a test to change."""

    def __init__(self, path: Path, told: dict) -> None:
        self.path = path
        self._told = told
        path.write_text(yaml.safe_dump(told))

    def change(self, **keys: object) -> None:
        """Set keys, `login__codes__issuer="x"`; None takes one out."""
        for key, value in keys.items():
            *sections, last = key.split("__")
            place = self._told
            for section in sections:
                place = place.setdefault(section, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        self.path.write_text(yaml.safe_dump(self._told))


class FakeKeeper:
    """Who keeps a broker of a test: nobody but the test."""

    rolls = False

    def __init__(self) -> None:
        self.restarts = 0

    def reload(self) -> bool:
        return False

    def restart(self) -> None:
        self.restarts += 1


class Killed(BaseException):
    """The process is no more; no code of its own catches this."""


class Fate:
    """When a process dies: at its n-th step, or never. A dead one does nothing any more."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.steps: list[str] = []
        self.dead = False

    def step(self, name: str) -> None:
        if self.dead:
            raise Killed
        self.steps.append(name)
        if self.at == len(self.steps):
            self.dead = True
            raise Killed

    async def before(self, method: str, args: tuple) -> None:
        """Where a call may have to wait for its turn."""

    async def after(self, method: str, args: tuple) -> None:
        """Where the caller may have to wait for the answer."""


class Mortal:
    """A store or an engine before each call of which, and after, the caller may die.

    A call in `reads` is no step of its own: it leaves the world as it was before.
    """

    def __init__(self, real, fate: Fate, *, reads: frozenset[str] = frozenset()) -> None:
        self._real, self._fate, self._reads = real, fate, reads

    def __getattr__(self, name):
        method = getattr(self._real, name)
        if name in {"events", "next_record"}:
            return method

        async def call(*args, **kwargs):
            self._step(f"before {name}", name)
            await self._fate.before(name, args)
            answer = await method(*args, **kwargs)
            self._step(f"after {name}", name)
            await self._fate.after(name, args)
            return answer

        return call

    def _step(self, step: str, name: str) -> None:
        if self._fate.dead or name not in self._reads:
            self._fate.step(step)


class MortalFiles:
    """The archives, or one while it is packed, for a caller who may die likewise."""

    def __init__(self, real, fate: Fate) -> None:
        self._real, self._fate = real, fate

    def __getattr__(self, name):
        method = getattr(self._real, name)

        def call(*args):
            answer = None
            try:
                self._fate.step(f"before {name}")
                answer = method(*args)
                self._fate.step(f"after {name}")
            except Killed:
                for packing in (self._real, answer):
                    if isinstance(packing, Packing):
                        packing._file.close()  # as the kernel does
                raise
            return MortalFiles(answer, self._fate) if name == "begin" else answer

        return call

    def existing(self):
        return self._real.existing()

    def unpack(self, desktop_id):
        for piece in self._real.unpack(desktop_id):
            self._fate.step("before a piece")
            yield piece


class World:
    """What outlives a broker: its database, its engine, its files, the time."""

    def __init__(self, directory: Path, instance: str) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.engine = FakeEngine(instance, images=(IMAGE, "desk:next"))
        self.packets = FakeFilter()
        self.baits: list[str] = []
        """Addresses at which a port is open for the canary."""
        self.brokers: list[Broker] = []

    @classmethod
    async def create(cls, directory: Path) -> World:
        shutil.copy(_migrated(), directory / "desk.db")
        store = SqlStore(open_engine(directory / "desk.db"), ManualClock(), AUDIT_KEY)
        instance = await store.instance()
        await store.close()
        return cls(directory, instance)

    @asynccontextmanager
    async def bait(self, address: str):
        self.baits.append(address)
        yield BAIT
        self.baits.remove(address)

    async def broker(self, *, fate: Fate | None = None, reconciled: bool = True, **options):
        """A fresh broker over this world; `reconciled` says that it has looked around already."""
        database = open_engine(self.directory / "desk.db")
        broker = Broker(self, SqlStore(database, self.clock, AUDIT_KEY), fate or Fate(), **options)
        self.brokers.append(broker)
        if reconciled:
            await broker.settle()
        return broker

    async def close(self) -> None:
        for broker in self.brokers:
            await broker.abandon()

    @property
    def running(self) -> dict[str, str]:
        """Container by session, of those that are alive."""
        alive = {ContainerState.RUNNING, ContainerState.PAUSED}
        return {
            made.state.session_id: name
            for name, made in self.engine._made.items()
            if made.state.state in alive
        }

    @property
    def containers(self) -> set[str]:
        return set(self.engine._made)

    @property
    def written(self) -> Counter[str]:
        """How often each writing method of the engine was called so far."""
        return Counter(call for call in self.engine.calls if call in WRITES)

    def container(self, session) -> object:
        """The very container, to compare by identity: a recreated one is another."""
        return self.engine._made[container_name(session.id)].spec

    def home(self, desktop):
        return self.engine.volumes[home_volume(desktop.id)]


class Broker:
    """Everything that `broker.app` composes below the listeners, over one world."""

    def __init__(
        self,
        world: World,
        store: SqlStore,
        fate: Fate,
        *,
        at_once: int = 4,
        waiting: int = 64,
        timeout: str = "90s",
        desktops_per_user: int = 3,
        ports: str = "20000-20099",
        displays: str = "1000-1099",
        uids: str = "200000-200099",
        routed=lambda _own: [],
        neighbours=lambda _own: [],
        network: str = "internet",
        home: str | None = None,
        network_required: bool = False,
        pool: str = "10.213.0.0/16",
        image: str = IMAGE,
        limits: dict | None = None,
        idle: dict | None = None,
        login: dict | None = None,
        allow: dict | None = None,
        audit: dict | None = None,
        web: dict | None = None,
        provider=None,
        inside: FakeInside | None = None,
        connections: FakeConnections | None = None,
    ) -> None:
        self.world = world
        self.clock = world.clock
        self.fate = fate
        self.real_store = store
        self.store = Mortal(store, fate, reads=STORE_READS)
        self.engine = Mortal(world.engine, fate)
        self.probe = FakeProbe()
        self.tasks: set[asyncio.Task] = set()
        self.metrics = Metrics()
        self.witnessed: list[str] = []
        self.connections = connections or FakeConnections()
        self.inside = inside or FakeInside()
        told = {
            "state": str(world.directory),
            "template": {"image": image, "network": network, "home": home},
            "starts": {
                "at_once": at_once,
                "per_user": min(at_once, 2),
                "waiting": waiting,
                "timeout": timeout,
            },
            "pools": {"ports": ports, "displays": displays, "uids": uids},
            "network": {"pool": pool, "required": network_required},
            "limits": {"desktops_per_user": desktops_per_user, **(limits or {})},
            "idle": idle or {},
            "login": login or {},
            "allow": allow or {},
            "audit": audit or {},
            "web": web or {},
        }
        config = Config.model_validate(told)
        self.host = Host(
            world.engine.instance, self.engine, config.network, config.pools, routed=routed
        )
        self.services = Services(
            config=config,
            store=self.store,
            engine=self.engine,
            clock=self.clock,
            host=self.host,
            keys=SessionKeys(world.directory / "sessions"),
            probe=self.probe,
            inside=self.inside,
            packets=Guard(
                Mortal(world.packets, fate, reads=frozenset({"standing"})),
                world.packets.changes,
                world.clock,
            ),
            bait=world.bait,
            resolvers=("9.9.9.9",),
            neighbours=neighbours,
            connections=self.connections,
            spawn=self.spawn,
            metrics=self.metrics,
            witness=self.witnessed.append,
            provider=provider,
        )
        self.services.archivist._archives = MortalFiles(self.services.archives, fate)
        self.config_file = ConfigFile(world.directory / "desk.yaml", told)
        self.keeper = FakeKeeper()
        self.logged_as: list[tuple[str, str]] = []
        self.reload = Reload(
            path=self.config_file.path,
            text=self.config_file.path.read_text(),
            config=config,
            store=self.store,
            services=self.services,
            keeper=self.keeper,
            log_as=lambda *chosen: self.logged_as.append(chosen),
        )

    def __getattr__(self, name):
        """`sessions`, `words`, …: the parts that the services are."""
        return getattr(self.__dict__["services"], name)

    def spawn(self, work, *, name):
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def abandon(self) -> None:
        """The process is gone: its tasks and its database connections with it."""
        self.fate.dead = True
        tasks = set(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.services.passwords.close()
        await self.real_store.close()

    # ------------------------------------------------------------------------------------- steps

    async def settle(self) -> None:
        """One pass a second later, and the starts that it took up again."""
        self.clock.advance(1)
        await self.reconcile()
        await self.landed()

    async def reconcile(self) -> None:
        """One pass; when it waits for its second look, time goes on."""
        task = asyncio.get_running_loop().create_task(self.reconciler.pass_once())
        async with asyncio.timeout(PATIENCE):
            while not (await asyncio.wait({task}, timeout=0.005))[0]:
                second_look = self.clock.monotonic() + SECOND_LOOK
                if any(due == second_look for due, _ in self.clock._sleepers):
                    self.clock.advance(SECOND_LOOK)
        await task

    async def landed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.tasks:
                await asyncio.wait(set(self.tasks))
                await asyncio.sleep(0)

    async def user(self, name: str = "ada", *, admin: bool = False):
        return await self.store.add_user(name, admin=admin, actor="uid:0")

    async def desktop(self, name: str = "ada", desktop: str = "main"):
        """The user's desktop, both made when they are not there."""
        user = await self.store.user(name) or await self.user(name)
        return await self.accounts.desktop_for(user, desktop, actor=f"user:{name}")

    async def person(self, name: str = "ada", *, desktop: str | None = None) -> Identity:
        """A user with a key, as the door has proven them."""
        if await self.store.user(name) is None:
            await self.user(name)
        key, line = new_key()
        await self.accounts.add_key(name, line, actor="uid:0")
        identity = await self.gateway.identify(Login(None, desktop), key, "192.0.2.1")
        assert identity is not None
        return identity

    async def ensure(self, desktop):
        return await self.sessions.ensure(desktop, actor="user:ada")

    def begin(self, desktop) -> asyncio.Task:
        """A caller of its own who wants the desktop."""
        return asyncio.get_running_loop().create_task(self.ensure(desktop))

    async def route(self, identity, display=None):
        self.said = []
        return await self.gateway.route(identity, display=display, progress=self.said.append)

    async def refused(self, error, awaitable):
        """The error that the awaitable raises."""
        try:
            await awaitable
        except error as caught:
            return caught
        raise AssertionError(f"no {error.__name__} was raised")

    async def freeze(self, session) -> bool:
        """Let it sleep, whatever anybody does in it."""

        async def still() -> bool:
            return True

        return await self.sessions.freeze(
            session, reason="nobody used it", sentence="It sleeps.", actor="broker", still=still
        )

    async def state(self, session) -> SessionState:
        return (await self.real_store.session(session.id)).state

    # -------------------------------------------------------------------------------- invariants

    async def check(self) -> None:
        """The six invariants of a session's life, at rest."""
        store, world, engine = self.real_store, self.world, self.world.engine
        live = await store.live_sessions()
        assert max(Counter(session.desktop_id for session in live).values(), default=1) == 1
        held = [lease for lease in await store.leases() if lease.kind is not LeaseKind.UID]
        assert Counter(lease.session_id for lease in held) == {s.id: 3 for s in live}
        by_kind = Counter((lease.host, lease.kind, lease.number) for lease in held)
        assert max(by_kind.values(), default=1) == 1
        for session in live:
            container = world.engine._made[container_name(session.id)].state
            assert (session.state, container.state) in AT_REST
        assert world.containers == {container_name(session.id) for session in live}
        assert set(world.running) == {session.id for session in live}
        assert world.packets.granted(world.engine.instance) == {s.address for s in live}
        assert set(self.keys.existing()) == {session.id for session in live}
        uids = {lease.number: lease.desktop_id for lease in await store.leases(LeaseKind.UID)}
        desktops = await store.desktops(removed=True)
        assert uids == {desktop.uid: desktop.id for desktop in desktops}
        for name, volume in engine.volumes.items():
            owner = await store.desktop(volume.desktop_id)
            assert owner is not None, f"the home {name} is nobody's"
            # One that is packed away still can have left half a volume behind.
            assert volume.uid == owner.uid or owner.archive is not None


def new_key():
    """A key as a client offers it, and its line in a .pub file."""
    made = asyncssh.generate_private_key("ssh-ed25519", comment="ada@laptop")
    line = made.export_public_key().decode().strip()
    offered = OfferedKey(
        algorithm="ssh-ed25519",
        fingerprint=made.get_fingerprint(),
        public=line.removesuffix(" ada@laptop"),
    )
    return offered, line


class Gate:
    """A hook of the engine that stops callers before or after one of its methods."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, method: str) -> None:
        if method == self.method and not self.open.is_set():
            self.reached.set()
            await self.open.wait()


@contextmanager
def outage(world: World):
    """The engine does not answer meanwhile."""
    world.engine.down = True
    try:
        yield
    finally:
        world.engine.down = False


@cache
def _migrated() -> Path:
    """Made once: a migration costs more than a whole test."""
    path = memory_directory() / "empty.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    with ThreadPoolExecutor(1) as pool:  # whoever asks first has a running loop already
        pool.submit(asyncio.run, migrate(path)).result()
    return path
