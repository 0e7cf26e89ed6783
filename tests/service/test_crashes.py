"""The process dies at every single step of what it does; the next one makes everything agree.

Each story is told once to its end to count its steps: the calls of the engine and the store,
before and after. Then it is told once more for each of them, and cut there. A fresh broker over the
same database and the same engine looks around once, and the invariants must hold.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy as copy_of
from dataclasses import dataclass
from functools import cache

import pytest

from broker.core.errors import DeskError
from broker.core.model import Desktop, DesktopId, Session, SessionState
from broker.core.spec import container_name, home_volume
from broker.engine.fake import FakeEngine
from tests.clocks import ManualClock
from tests.service.harness import Broker, Fate, Killed, World, memory_directory, outage

ACTOR = "user:ada"


@dataclass
class Scene:
    """What there is before a story begins."""

    desktop: Desktop
    session: Session | None = None


class Story:
    """`prepare` is lived through by a broker that does not die, `tell` by one that may."""

    name = ""
    keeps_home = True
    options: dict = {}

    async def prepare(self, world: World) -> Scene:
        """A desktop that ran once and has a file in its home."""
        broker = await world.broker()
        scene = Scene(await broker.desktop())
        session = await broker.ensure(scene.desktop)
        world.home(scene.desktop).files["thesis.tex"] = "draft"
        await broker.sessions.stop(session.id, reason="enough", actor=ACTOR)
        await self.go_on(world, broker, scene)
        await broker.abandon()
        return scene

    async def go_on(self, world: World, broker: Broker, scene: Scene) -> None:
        """What else happened before."""

    async def tell(self, broker: Broker, scene: Scene) -> None:
        raise NotImplementedError


class Ensure(Story):
    """A desktop starts whose home is there."""

    name = "ensure"

    async def tell(self, broker, scene):
        await broker.ensure(scene.desktop)


class FirstEnsure(Story):
    """The very first start of a user: the desktop's record and its home are made too."""

    name = "first-ensure"
    keeps_home = False

    async def prepare(self, world):
        broker = await world.broker()
        await broker.user("ada")
        await broker.abandon()
        return Scene(desktop=None)

    async def tell(self, broker, scene):
        await broker.ensure(await broker.desktop())


class EnsureOverStrangers(Story):
    """A start that sets aside a port and an address that somebody else holds."""

    name = "ensure-over-strangers"

    async def tell(self, broker, scene):
        broker.world.engine.held_ports = {20000}
        broker.world.engine.held_addresses = {"10.213.0.4"}
        await broker.ensure(scene.desktop)


class EnsureThatFails(Story):
    """A start whose container cannot be started, and the cleaning up after it."""

    name = "ensure-that-fails"

    async def tell(self, broker, scene):
        broker.world.engine.fail_next("start", DeskError("no such luck"))
        await broker.refused(DeskError, broker.ensure(scene.desktop))


class EnsureAfterHalfAStop(Story):
    """A start that must end the last session first: the engine was down when it was stopped."""

    name = "ensure-after-half-a-stop"

    async def go_on(self, world, broker, scene):
        scene.session = await broker.ensure(scene.desktop)
        with outage(world):
            await broker.refused(
                DeskError, broker.sessions.stop(scene.session.id, reason="enough", actor=ACTOR)
            )

    async def tell(self, broker, scene):
        await broker.ensure(scene.desktop)


class Running(Story):
    async def go_on(self, world, broker, scene):
        scene.session = await broker.ensure(scene.desktop)


class Stop(Running):
    """A running desktop is stopped."""

    name = "stop"

    async def tell(self, broker, scene):
        await broker.sessions.stop(scene.session.id, reason="enough", actor=ACTOR)


class StopWhileStarting(Story):
    """A desktop is stopped whose start waits for it to answer."""

    name = "stop-while-starting"

    async def tell(self, broker, scene):
        broker.probe.hold()
        waiting = broker.begin(scene.desktop)
        asking = asyncio.get_running_loop().create_task(broker.probe.asked.wait())
        await asyncio.wait({waiting, asking}, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        if not waiting.done():
            session = await broker.store.live_session(scene.desktop.id)
            await broker.sessions.stop(session.id, reason="enough", actor=ACTOR)
        await broker.refused(DeskError, waiting)


class RemoveDesktop(Running):
    """A running desktop is removed; its home stays."""

    name = "remove-desktop"

    async def tell(self, broker, scene):
        await broker.accounts.remove_desktop(scene.desktop.id, with_home=False, actor="uid:0")


class RemoveWithHome(Running):
    """A running desktop is removed together with its home."""

    name = "remove-desktop-with-home"
    keeps_home = False

    async def tell(self, broker, scene):
        await broker.accounts.remove_desktop(scene.desktop.id, with_home=True, actor="uid:0")


class RemoveUser(Running):
    """A user with a running desktop is removed."""

    name = "remove-user"

    async def tell(self, broker, scene):
        await broker.accounts.remove_user("ada", actor="uid:0")


class Kill(Running):
    """A running desktop is killed by force."""

    name = "kill"

    async def tell(self, broker, scene):
        await broker.sessions.kill(scene.session.id, reason="enough", actor=ACTOR, force=True)


class Freeze(Running):
    """A running desktop goes to sleep."""

    name = "freeze"

    async def tell(self, broker, scene):
        assert await broker.freeze(scene.session)


class Asleep(Running):
    async def go_on(self, world, broker, scene):
        await super().go_on(world, broker, scene)
        assert await broker.freeze(scene.session)


class Thaw(Asleep):
    """Somebody connects to a desktop that sleeps."""

    name = "thaw"

    async def tell(self, broker, scene):
        await broker.ensure(scene.desktop)


class ThawOfTheDead(Asleep):
    """Somebody connects to a desktop that died in its sleep."""

    name = "thaw-of-the-dead"

    async def tell(self, broker, scene):
        broker.world.engine.die(container_name(scene.session.id))
        await broker.ensure(scene.desktop)


class StopAsleep(Asleep):
    """A desktop that sleeps is stopped."""

    name = "stop-asleep"

    async def tell(self, broker, scene):
        await broker.sessions.stop(scene.session.id, reason="enough", actor=ACTOR)


async def archive(broker: Broker) -> None:
    """Let it be seen for an hour that the home is due, and then pack it."""
    await broker.archivist.pass_once()
    broker.clock.advance(3600)
    await broker.archivist.pass_once()


class Archive(Story):
    """A home that nobody used for long is packed away."""

    name = "archive"
    options = {"idle": {"archive_after": "30d"}}

    async def go_on(self, world, broker, scene):
        world.clock.advance(31 * 86400)

    async def tell(self, broker, scene):
        await archive(broker)


class Fetch(Archive):
    """A desktop starts whose home is packed away."""

    name = "fetch"

    async def go_on(self, world, broker, scene):
        await super().go_on(world, broker, scene)
        other = await world.broker(**self.options)
        await archive(other)
        await other.abandon()
        assert world.engine.volumes == {}

    async def tell(self, broker, scene):
        await broker.ensure(scene.desktop)


class FetchedForGood(Fetch):
    """The file of a home that is back goes in the end."""

    name = "fetched-for-good"

    async def tell(self, broker, scene):
        scene.session = await broker.ensure(scene.desktop)
        await broker.archivist.pass_once()
        broker.clock.advance(300)
        await broker.archivist.pass_once()


class DeleteArchived(Fetch):
    """A desktop whose home is packed away is removed together with it."""

    name = "delete-archived"
    keeps_home = False

    async def tell(self, broker, scene):
        await broker.accounts.remove_desktop(scene.desktop.id, with_home=True, actor="uid:0")


class Reconcile(Story):
    """The healing itself: a dead one, an orphan, a half-started one, a half-stopped one."""

    name = "reconcile"

    async def go_on(self, world, broker, scene):
        sessions = []
        for name in ("bob", "cara", "dora"):
            sessions.append(await broker.ensure(await broker.desktop(name)))
            world.clock.advance(1)  # the steps come in the order of their age
        dead, orphan, half_stopped = sessions
        world.engine.die(container_name(dead.id))
        for before, after in (
            (SessionState.READY, SessionState.STOPPING),
            (SessionState.STOPPING, SessionState.ENDED),
        ):
            await broker.store.advance(
                orphan.id, expected=before, to=after, deadline=None, reason="lost", actor="broker"
            )
        with outage(world):
            await broker.refused(
                DeskError, broker.sessions.stop(half_stopped.id, reason="enough", actor=ACTOR)
            )
        broker.probe.hold()
        waiting = broker.begin(scene.desktop)
        await broker.probe.asked.wait()
        scene.session = await broker.store.live_session(scene.desktop.id)
        await broker.abandon()
        await asyncio.wait({waiting})

    async def tell(self, broker, scene):
        await broker.settle()


STORIES = (
    Ensure(),
    FirstEnsure(),
    EnsureOverStrangers(),
    EnsureThatFails(),
    EnsureAfterHalfAStop(),
    Stop(),
    StopWhileStarting(),
    RemoveDesktop(),
    RemoveWithHome(),
    RemoveUser(),
    Kill(),
    Freeze(),
    Thaw(),
    ThawOfTheDead(),
    StopAsleep(),
    Archive(),
    Fetch(),
    FetchedForGood(),
    DeleteArchived(),
    Reconcile(),
)


class Prepared:
    """The world as a story finds it, lived once and taken up again for each of its deaths."""

    def __init__(self) -> None:
        self._base = memory_directory()
        # Counting the steps makes it too, whether or not a single case is run.
        atexit.register(shutil.rmtree, self._base, ignore_errors=True)
        self._kept: dict[Story, tuple[FakeEngine, ManualClock, Scene]] = {}

    async def world(self, story: Story) -> tuple[World, Scene]:
        """A world in the same place each time: containers are made with its paths."""
        place, copy = self._base / story.name, self._base / f"{story.name}.kept"
        if story not in self._kept:
            place.mkdir()
            world = await World.create(place)
            scene = await story.prepare(world)
            await world.close()
            shutil.copytree(place, copy)
            self._kept[story] = (world.engine, world.clock, scene)
        shutil.rmtree(place)
        shutil.copytree(copy, place)
        engine, clock, scene = self._kept[story]
        world = World(place, engine.instance)
        world.engine = copy_of(engine)
        world.clock = ManualClock(clock.now())
        return world, scene


@cache
def prepared() -> Prepared:
    """The one of this run."""
    return Prepared()


async def lived(story: Story, at: int | None) -> tuple[World, Scene, Fate]:
    """Tell the story until its end, or until the process dies at the given step."""
    world, scene = await prepared().world(story)
    fate = Fate()
    broker = await world.broker(
        fate=fate, reconciled=not isinstance(story, Reconcile), **story.options
    )
    fate.at, fate.steps = at, []
    try:
        await story.tell(broker, scene)
    except (Killed, BaseExceptionGroup):
        assert fate.dead
    await broker.abandon()
    world.engine._faults.clear()
    return world, scene, fate


@cache
def steps_of(story: Story) -> list[str]:
    """The steps of the story told to its end."""

    async def count() -> list[str]:
        world, _, fate = await lived(story, None)
        await world.close()
        return fate.steps

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, count()).result()


def pytest_generate_tests(metafunc):
    """One case for each step of each story."""
    if {"story", "at"} <= set(metafunc.fixturenames):
        cases = [
            # What a reconcile does side by side has no order that a name could tell.
            pytest.param(story, at, id=f"{story.name}-{at:02}")
            for story in STORIES
            for at in range(1, len(steps_of(story)) + 1)
        ]
        metafunc.parametrize(("story", "at"), cases)


async def test_after_a_death_one_quiet_reconcile_makes_everything_agree(story, at):
    """Invariants, homes, and whatever ran; and everybody can have a desktop again."""
    world, scene, fate = await lived(story, at)
    try:
        assert fate.dead
        running = {
            session: world.engine.spec(name)
            for session, name in world.running.items()
            if scene.session is not None and session == scene.session.id
        }
        broker = await world.broker()
        await broker.check()
        await homes_are_kept(story, world, broker, scene)
        ready = await broker.store.live_sessions()
        for session in ready:
            if session.id in running:
                assert world.container(session) is running[session.id]
        before = world.written
        await broker.settle()
        assert world.written == before, "the second look found something to do"
        assert await broker.store.live_sessions() == ready
        await repeat(story, broker, scene)
        await broker.check()
        await homes_are_kept(story, world, broker, scene)
    finally:
        await world.close()


async def homes_are_kept(story: Story, world: World, broker: Broker, scene: Scene) -> None:
    """A home is there with what is in it, unless somebody asked to delete it and it is audited."""
    if scene.desktop is None:
        return
    volume = world.engine.volumes.get(home_volume(scene.desktop.id))
    desktop = await broker.store.desktop(scene.desktop.id)
    deletions = [e for e in await broker.store.audit(limit=500) if e.action == "home.delete"]
    if story.keeps_home:
        assert deletions == []
    if desktop is not None and desktop.archive is not None and not deletions:
        broker.archives.check(desktop.id, desktop.archive)
        assert b"draft" in b"".join(broker.archives.unpack(desktop.id))
    elif volume is None or deletions:
        assert deletions
    else:
        assert volume.files == {"thesis.tex": "draft"}


async def repeat(story: Story, broker: Broker, scene: Scene) -> None:
    """Repeat what was cut: it comes to its end; then start a desktop."""
    match story:
        case RemoveUser():
            if await broker.store.user("ada") is not None:
                await broker.accounts.remove_user("ada", actor="uid:0")
        case RemoveDesktop():
            await broker.accounts.remove_desktop(scene.desktop.id, with_home=False, actor="uid:0")
            revived = await broker.desktop()
            assert (revived.id, revived.uid) == (scene.desktop.id, scene.desktop.uid)
        case RemoveWithHome() | DeleteArchived():
            if await broker.store.desktop(DesktopId(scene.desktop.id)) is not None:
                await broker.accounts.remove_desktop(
                    scene.desktop.id, with_home=True, actor="uid:0"
                )
            assert home_volume(scene.desktop.id) not in broker.world.engine.volumes
            assert await broker.store.desktop(scene.desktop.id) is None
            assert broker.archives.existing() == []
        case Archive():
            await tidied(broker)
        case _:
            pass
    session = await broker.ensure(await broker.desktop())
    assert session.state is SessionState.READY


async def tidied(broker: Broker) -> None:
    """However it was cut, a while later a home is in one place: on the engine, or in a file."""
    for _ in range(2):
        await broker.archivist.pass_once()
        broker.clock.advance(300)
    packed = {desktop.id for desktop in await broker.store.archived_desktops()}
    assert set(broker.archives.existing()) == packed
    homes = {home_volume(desktop.id) for desktop in await broker.store.desktops(removed=True)}
    assert set(broker.world.engine.volumes) == homes - {home_volume(d) for d in packed}
    assert [path.name for path in (broker.world.directory / "archive").glob("*.part")] == []


def test_every_story_has_steps_on_both_sides_of_its_calls():
    """The counting has found what it should."""
    for story in STORIES:
        sides = Counter(step.split()[0] for step in steps_of(story))
        assert sides["before"] >= sides["after"] >= 2
    ensure = steps_of(STORIES[0])
    for call in ("begin_session", "ensure_home", "create", "start", "advance"):
        assert ensure.index(f"before {call}") + 1 == ensure.index(f"after {call}")
