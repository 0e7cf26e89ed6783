"""What every engine promises: one suite over the one in memory and the real one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.errors import (
    AddressTaken,
    Conflict,
    EngineUnavailable,
    ImageMissing,
    NotFound,
    PortTaken,
)
from broker.core.interfaces import ContainerState, EngineEvent, EventKind
from broker.core.model import new_id
from broker.core.spec import bridge_name, network_name, with_hash
from tests.contract.engines import (
    UID,
    FakeWorld,
    RealWorld,
    World,
    desktop_of,
    engine_host,
    real_world,
)


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.engine)])
async def world(request, tmp_path):
    if request.param == "fake":
        yield FakeWorld(tmp_path)
        return
    async with real_world(engine_host(), tmp_path) as real:
        yield real


async def made_home(world: World, **changes):
    """A spec whose home is made and whose network is not."""
    spec = world.spec(**changes)
    await world.engine.ensure_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=spec.uid
    )
    return spec


async def running(world: World, **changes):
    spec = await world.ready(**changes)
    await world.engine.create(spec)
    await world.engine.start(spec.name)
    return spec


async def told(events, *until: EventKind) -> list[EngineEvent]:
    """What comes up to the last of these, and these alone have to come in this order."""
    got, wanted = [], list(until)
    async with asyncio.timeout(10):
        while wanted:
            got.append(await anext(events))
            if got[-1].kind is wanted[0]:
                wanted.pop(0)
    return got


async def burnt(world: World, name: str, seconds: float) -> float:
    """Its CPU time, once that is more than so many seconds."""
    async with asyncio.timeout(10):
        while (used := await world.engine.cpu_seconds(name)) <= seconds:
            await world.burn(name)
    return used


def listening() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "engine-events"]


# ------------------------------------------------------------------------------- engine and image


async def test_ping_tells_the_version(world: World):
    info = await world.engine.ping()
    assert info.version
    assert all(sentence.endswith(".") for sentence in info.warnings)


async def test_an_image_has_an_id_that_names_it_too(world: World):
    image = await world.engine.image_id(world.image)
    assert image.startswith("sha256:")
    assert await world.engine.image_id(image) == image


@pytest.mark.parametrize(
    "reference", ["desk-test:nowhere", "NOT::a reference", "sha256:" + 64 * "0"]
)
async def test_an_absent_image_is_missing(world: World, reference):
    with pytest.raises(ImageMissing):
        await world.engine.image_id(reference)


async def test_a_closed_engine_is_unavailable_and_closes_again(world: World):
    await world.engine.close()
    with pytest.raises(EngineUnavailable):
        await world.engine.containers()
    await world.engine.close()


# ---------------------------------------------------------------------------------------- network


async def test_a_network_is_made_once_and_found_again_with_the_subnet_it_has(world: World):
    await world.ready()
    name, bridge = network_name(world.instance), bridge_name(world.instance)
    again = await world.engine.ensure_network(name, bridge=bridge, subnet="10.213.0.0/22")
    assert again == world.subnet
    assert await world.engine.network(name) == world.subnet
    await world.engine.remove_network(name)
    assert await world.engine.network(name) is None


async def test_a_network_made_by_a_lost_call_is_found(world: World):
    spec = await world.ready()
    await world.engine.remove_network(spec.network)
    call = {"bridge": bridge_name(world.instance), "subnet": world.subnet}
    world.lose_reply("ensure_network")
    with pytest.raises(EngineUnavailable):
        await world.engine.ensure_network(spec.network, **call)
    assert await world.engine.ensure_network(spec.network, **call) == world.subnet


async def test_ten_callers_at_once_get_one_network(world: World):
    spec = await world.ready()
    await world.engine.remove_network(spec.network)
    call = {"bridge": bridge_name(world.instance), "subnet": world.subnet}
    subnets = await asyncio.gather(
        *(world.engine.ensure_network(spec.network, **call) for _ in range(10))
    )
    assert set(subnets) == {world.subnet}


async def test_a_subnet_in_use_is_a_conflict(world: World):
    await world.ready()
    with pytest.raises(Conflict):
        await world.engine.ensure_network(
            f"{network_name(world.instance)}-2", bridge="desk-other0", subnet=world.subnet
        )


async def test_a_foreign_network_of_that_name_is_a_conflict_and_is_left_alone(world: World):
    name = network_name(world.instance)
    await world.foreign_network(name, "10.214.252.0/24")
    for _ in range(2):
        with pytest.raises(Conflict):
            await world.engine.ensure_network(
                name, bridge=bridge_name(world.instance), subnet=world.subnet
            )
        with pytest.raises(Conflict):
            await world.engine.network(name)
        await world.engine.remove_network(name)


async def test_a_network_in_use_is_not_removed(world: World):
    spec = await running(world)
    with pytest.raises(Conflict):
        await world.engine.remove_network(spec.network)
    await world.engine.remove(spec.name)
    for _ in range(2):
        await world.engine.remove_network(spec.network)


async def test_a_network_removed_by_a_lost_call_is_gone(world: World):
    spec = await world.ready()
    world.lose_reply("remove_network")
    with pytest.raises(EngineUnavailable):
        await world.engine.remove_network(spec.network)
    await world.engine.remove_network(spec.network)


# ------------------------------------------------------------------------------------------- home


async def test_a_home_belongs_to_the_uid_and_is_listed(world: World):
    spec = await made_home(world)
    assert await world.home_owner(spec.home_volume) == UID
    assert spec.home_volume in await world.engine.homes()


async def test_a_home_is_given_once_and_left_as_it_is(world: World):
    spec = await made_home(world)
    call = {"desktop_id": desktop_of(spec), "uid": spec.uid}
    await world.engine.ensure_home(spec.home_volume, image=spec.image, **call)
    await world.engine.ensure_home(spec.home_volume, image="desk-test:nowhere", **call)
    assert await world.home_owner(spec.home_volume) == UID


async def test_ten_callers_at_once_get_one_home(world: World):
    spec = world.spec()
    call = {"desktop_id": desktop_of(spec), "image": spec.image, "uid": spec.uid}
    await asyncio.gather(*(world.engine.ensure_home(spec.home_volume, **call) for _ in range(10)))
    assert await world.home_owner(spec.home_volume) == UID
    assert await world.engine.containers() == []


async def test_a_home_whose_making_was_cut_off_is_finished_by_the_next_call(world: World):
    spec = world.spec()
    world.lose_reply("ensure_home")
    with pytest.raises(EngineUnavailable):
        await made_home_of(world, spec)
    await made_home_of(world, spec)
    assert await world.home_owner(spec.home_volume) == UID


async def made_home_of(world: World, spec):
    await world.engine.ensure_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=spec.uid
    )


async def test_a_home_of_a_missing_image_is_not_made(world: World):
    spec = world.spec(image="desk-test:nowhere")
    with pytest.raises(ImageMissing):
        await made_home_of(world, spec)
    assert await world.engine.homes() == []


async def test_a_foreign_volume_of_that_name_is_a_conflict_and_is_left_alone(world: World):
    spec = await world.ready()
    await world.engine.remove_home(spec.home_volume)
    await world.foreign_volume(spec.home_volume)
    for _ in range(2):
        with pytest.raises(Conflict):
            await made_home_of(world, spec)
        with pytest.raises(Conflict):
            await world.engine.create(spec)
        await world.engine.remove_home(spec.home_volume)
    assert await world.engine.homes() == []


async def test_a_home_survives_its_container(world: World):
    spec = await running(world)
    await world.write_home(spec.name, "thesis.txt")
    await world.engine.remove(spec.name)
    await made_home_of(world, spec)
    assert await world.home_has(spec.home_volume, "thesis.txt")


async def test_a_home_in_use_is_not_removed(world: World):
    spec = await made_home(world)
    await world.engine.create(spec)
    with pytest.raises(Conflict):
        await world.engine.remove_home(spec.home_volume)
    await world.engine.remove(spec.name)
    for _ in range(2):
        await world.engine.remove_home(spec.home_volume)
    assert await world.engine.homes() == []


async def test_a_home_removed_by_a_lost_call_is_gone(world: World):
    spec = await made_home(world)
    world.lose_reply("remove_home")
    with pytest.raises(EngineUnavailable):
        await world.engine.remove_home(spec.home_volume)
    await world.engine.remove_home(spec.home_volume)
    assert await world.engine.homes() == []


# -------------------------------------------------------------------------------------- transfers


async def filled(world: World):
    """A spec whose home is full and whose container is gone."""
    spec = await running(world)
    await world.fill_home(spec.name)
    await world.engine.remove(spec.name)
    return spec


async def exported(world: World, spec) -> list[bytes]:
    pieces: list[bytes] = []
    await world.engine.export_home(spec.home_volume, image=spec.image, sink=pieces.append)
    return pieces


async def imported(world: World, spec, source) -> None:
    await world.engine.import_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, source=iter(source)
    )


async def test_a_home_that_went_and_came_back_is_the_same(world: World):
    spec = await filled(world)
    before = await world.home_looks(spec.home_volume)
    pieces = await exported(world, spec)
    assert len(pieces) > 10
    assert max(map(len, pieces)) <= 1 << 20
    await world.engine.remove_home(spec.home_volume)
    await imported(world, spec, pieces)
    assert await world.home_looks(spec.home_volume) == before
    await made_home_of(world, spec)
    assert await world.home_looks(spec.home_volume) == before
    assert (await world.engine.create(spec)).state is ContainerState.CREATED


async def test_an_imported_home_holds_nothing_of_what_was_there(world: World):
    spec = await made_home(world)
    pieces = await exported(world, spec)
    before = await world.home_looks(spec.home_volume)
    full = await world.ready(home_volume=spec.home_volume)
    await world.engine.create(full)
    await world.engine.start(full.name)
    await world.fill_home(full.name)
    await world.engine.remove(full.name)
    assert await world.home_looks(spec.home_volume) != before
    await imported(world, spec, pieces)
    assert await world.home_looks(spec.home_volume) == before


async def test_a_home_is_not_exported_that_is_gone_or_a_strangers(world: World):
    spec = await made_home(world)
    await world.engine.remove_home(spec.home_volume)
    with pytest.raises(NotFound):
        await exported(world, spec)
    assert await world.engine.homes() == []
    await world.foreign_volume(spec.home_volume)
    with pytest.raises(Conflict):
        await exported(world, spec)
    with pytest.raises(Conflict):
        await imported(world, spec, [])


async def test_a_home_in_use_is_not_replaced(world: World):
    spec = await made_home(world)
    pieces = await exported(world, spec)
    await world.engine.create(spec)
    with pytest.raises(Conflict):
        await imported(world, spec, pieces)


async def test_without_its_image_a_home_neither_goes_nor_comes(world: World):
    spec = await filled(world)
    before = await world.home_looks(spec.home_volume)
    nowhere = replace(spec, image="desk-test:nowhere")
    with pytest.raises(ImageMissing):
        await exported(world, nowhere)
    with pytest.raises(ImageMissing):
        await imported(world, nowhere, [])
    assert await world.home_looks(spec.home_volume) == before


async def test_what_the_sink_raises_ends_an_export_and_is_told(world: World):
    spec = await filled(world)
    before = await world.home_looks(spec.home_volume)
    given: list[bytes] = []

    def full(piece: bytes) -> None:
        given.append(piece)
        if len(given) == 3:
            raise Conflict("the disk is full")

    with pytest.raises(Conflict, match="the disk is full"):
        await world.engine.export_home(spec.home_volume, image=spec.image, sink=full)
    assert len(given) == 3
    assert await world.engine.containers() == []
    assert await world.home_looks(spec.home_volume) == before
    await world.engine.remove_home(spec.home_volume)


async def test_a_cancelled_export_gives_nothing_more_and_ends(world: World):
    spec = await filled(world)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    given: list[bytes] = []

    def sink(piece: bytes) -> None:
        given.append(piece)
        loop.call_soon_threadsafe(begun.set)

    task = loop.create_task(world.engine.export_home(spec.home_volume, image=spec.image, sink=sink))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    count = len(given)
    await world.engine.remove_home(spec.home_volume)  # which waits for its turn at the volume
    assert len(given) == count


async def test_a_cancelled_import_takes_nothing_more_and_can_be_repeated(world: World):
    spec = await filled(world)
    before = await world.home_looks(spec.home_volume)
    pieces = await exported(world, spec)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    taken: list[bytes] = []

    def source():
        for piece in pieces:
            taken.append(piece)
            loop.call_soon_threadsafe(begun.set)
            yield piece

    task = loop.create_task(imported(world, spec, source()))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    count = len(taken)
    await imported(world, spec, pieces)
    assert len(taken) == count
    assert await world.home_looks(spec.home_volume) == before


async def test_an_import_whose_source_fails_is_repeated_as_a_whole(world: World):
    spec = await filled(world)
    before = await world.home_looks(spec.home_volume)
    pieces = await exported(world, spec)

    def broken():
        yield from pieces[: len(pieces) // 2]
        raise Conflict("the file is damaged")

    with pytest.raises(Conflict, match="the file is damaged"):
        await imported(world, spec, broken())
    await imported(world, spec, pieces)
    assert await world.home_looks(spec.home_volume) == before


@pytest.mark.parametrize(
    "names", [["etc/desk-evil"], ["../../etc/desk-evil"], ["desk/up/desk-evil"]]
)
async def test_a_tar_reaches_nothing_but_the_home(world: World, names):
    """One that leads elsewhere is refused, or what it has there is gone with the helper."""
    spec = await made_home(world)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("desk", tarfile.DIRTYPE), ("desk/up", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info)
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    with contextlib.suppress(EngineUnavailable):
        await imported(world, spec, [buffer.getvalue()])
    for place in ("desk-evil", "../../etc/desk-evil", "etc/desk-evil", "../desk-evil"):
        assert not await world.home_has(spec.home_volume, place)
    assert not Path("/etc/desk-evil").exists()
    assert await world.engine.containers() == []


async def test_half_a_tar_is_no_home(world: World):
    spec = await filled(world)
    pieces = await exported(world, spec)
    whole = b"".join(pieces)
    with pytest.raises(EngineUnavailable):
        await imported(world, spec, [whole[: len(whole) // 2]])


async def test_an_import_whose_reply_is_lost_is_repeated(world: World):
    spec = await filled(world)
    before = await world.home_looks(spec.home_volume)
    pieces = await exported(world, spec)
    world.lose_reply("import_home")
    with pytest.raises(EngineUnavailable):
        await imported(world, spec, pieces)
    await imported(world, spec, pieces)
    assert await world.home_looks(spec.home_volume) == before


# ------------------------------------------------------------------------------------- containers


async def test_a_new_container_is_created_and_not_running(world: World):
    spec = await made_home(world)
    made = await world.engine.create(spec)
    assert made.state is ContainerState.CREATED
    assert made.name == spec.name
    assert made.session_id == spec.session_id
    assert made.desktop_id == desktop_of(spec)
    assert made.spec_hash == dict(spec.labels)["desk.spec"]
    assert made.address == spec.address
    assert made.exit_code is None
    assert not made.oom_killed
    assert await world.engine.inspect(spec.name) == made
    assert await world.engine.containers() == [made]


async def test_a_container_of_the_same_spec_is_adopted(world: World):
    spec = await running(world)
    found = await world.engine.create(spec)
    assert found.state is ContainerState.RUNNING


async def test_a_container_made_by_a_lost_call_is_adopted(world: World):
    spec = await made_home(world)
    world.lose_reply("create")
    with pytest.raises(EngineUnavailable):
        await world.engine.create(spec)
    assert (await world.engine.create(spec)).state is ContainerState.CREATED
    assert len(await world.engine.containers()) == 1


async def test_a_container_of_another_spec_is_replaced(world: World):
    spec = await running(world)
    changed = with_hash(replace(spec, pids=48))
    made = await world.engine.create(changed)
    assert made.state is ContainerState.CREATED
    assert made.spec_hash == dict(changed.labels)["desk.spec"]
    assert await world.engine.containers() == [made]


async def test_ten_creates_at_once_make_one_container(world: World):
    spec = await made_home(world)
    made = await asyncio.gather(*(world.engine.create(spec) for _ in range(10)))
    assert {container.name for container in made} == {spec.name}
    assert len(await world.engine.containers()) == 1


async def test_ten_sessions_start_at_once(world: World):
    specs = [await world.ready() for _ in range(10)]
    await asyncio.gather(*(world.engine.create(spec) for spec in specs))
    started = await asyncio.gather(*(world.engine.start(spec.name) for spec in specs))
    assert {container.state for container in started} == {ContainerState.RUNNING}
    listed = await world.engine.containers()
    assert {container.address for container in listed} == {spec.address for spec in specs}
    await asyncio.gather(*(world.engine.remove(spec.name) for spec in specs))
    assert await world.engine.containers() == []


async def test_a_container_of_a_missing_image_is_not_made(world: World):
    spec = await made_home(world)
    with pytest.raises(ImageMissing):
        await world.engine.create(with_hash(replace(spec, image="sha256:" + 64 * "0")))
    assert await world.engine.containers() == []


async def test_a_container_without_its_home_is_not_made(world: World):
    with pytest.raises(NotFound):
        await world.engine.create(world.spec())
    assert await world.engine.homes() == []


async def test_another_instances_spec_is_a_mistake(world: World):
    spec = await made_home(world)
    labels = tuple((k, "other" if k == "desk.instance" else v) for k, v in spec.labels)
    with pytest.raises(ValueError, match="another instance"):
        await world.engine.create(replace(spec, labels=labels))


async def test_a_forbidden_spec_is_a_mistake(world: World):
    spec = await made_home(world)
    with pytest.raises(ValueError, match="network"):
        await world.engine.create(with_hash(replace(spec, network="host")))


@pytest.mark.parametrize("instance", [None, "another"])
async def test_foreign_containers_are_neither_seen_nor_touched(world: World, instance):
    spec = await made_home(world)
    await world.stranger(spec.name, instance=instance)
    assert await world.engine.containers() == []
    assert await world.engine.inspect(spec.name) is None
    assert await world.engine.tail(spec.name) == ""
    assert await world.engine.cpu_seconds(spec.name) is None
    for call in (world.engine.start, world.engine.pause, world.engine.unpause):
        with pytest.raises(NotFound):
            await call(spec.name)
    with pytest.raises(Conflict):
        await world.engine.create(spec)
    await world.engine.remove(spec.name)
    await world.engine.kill(spec.name)
    assert await world.is_there(spec.name)


async def test_a_name_that_only_begins_like_a_container_is_not_it(world: World):
    spec = await made_home(world)
    await world.engine.create(spec)
    assert await world.engine.inspect(spec.name[:-1]) is None


# ------------------------------------------------------------------------------------------ start


async def test_a_started_container_runs_and_starting_again_finds_it(world: World):
    spec = await running(world)
    again = await world.engine.start(spec.name)
    assert again.state is ContainerState.RUNNING
    assert again.address == spec.address
    assert await world.engine.containers() == [again]


async def test_a_container_started_by_a_lost_call_runs(world: World):
    spec = await world.ready()
    await world.engine.create(spec)
    world.lose_reply("start")
    with pytest.raises(EngineUnavailable):
        await world.engine.start(spec.name)
    assert (await world.engine.start(spec.name)).state is ContainerState.RUNNING


async def test_what_does_not_exist_cannot_be_started(world: World):
    with pytest.raises(NotFound):
        await world.engine.start(f"desk-{new_id()}")


async def test_without_the_network_the_start_fails_and_the_container_stays(world: World):
    spec = await made_home(world)
    await world.engine.create(spec)
    with pytest.raises(EngineUnavailable, match="network"):
        await world.engine.start(spec.name)
    assert await world.engine.inspect(spec.name) is not None


async def test_a_port_held_by_a_process_is_taken(world: World):
    spec = await world.ready()
    await world.engine.create(spec)
    with world.hold_port(spec.port):
        with pytest.raises(PortTaken) as caught:
            await world.engine.start(spec.name)
        assert caught.value.port == spec.port
        await world.engine.remove(spec.name)
    await world.engine.create(spec)
    assert (await world.engine.start(spec.name)).state is ContainerState.RUNNING


async def test_a_port_held_by_a_container_is_taken(world: World):
    first = await running(world)
    second = await world.ready(port=first.port)
    await world.engine.create(second)
    with pytest.raises(PortTaken) as caught:
        await world.engine.start(second.name)
    assert caught.value.port == first.port
    await world.engine.remove(second.name)
    assert await world.engine.inspect(second.name) is None


async def test_an_address_held_by_a_container_is_taken(world: World):
    spec = await world.ready()
    await world.hold_address(spec.address)
    await world.engine.create(spec)
    with pytest.raises(AddressTaken) as caught:
        await world.engine.start(spec.name)
    assert caught.value.address == spec.address
    await world.engine.remove(spec.name)
    assert await world.engine.inspect(spec.name) is None


async def test_a_killed_container_is_seen_with_its_code_and_starts_again(world: World):
    spec = await running(world)
    await world.kill(spec.name)
    seen = await world.engine.inspect(spec.name)
    assert seen is not None
    assert (seen.state, seen.exit_code) == (ContainerState.EXITED, 137)
    assert await world.engine.containers() == [seen]
    again = await world.engine.start(spec.name)
    assert (again.state, again.exit_code) == (ContainerState.RUNNING, None)


async def test_a_paused_container_is_seen_and_not_woken_by_start(world: World):
    spec = await running(world)
    await world.pause(spec.name)
    seen = await world.engine.inspect(spec.name)
    assert seen is not None
    assert seen.state is ContainerState.PAUSED
    assert await world.engine.containers() == [seen]
    assert await world.engine.create(spec) == seen
    assert await world.engine.start(spec.name) == seen
    await world.engine.unpause(spec.name)
    assert (await world.engine.start(spec.name)).state is ContainerState.RUNNING


async def test_a_container_that_vanished_is_absent(world: World):
    spec = await running(world)
    await world.vanish(spec.name)
    assert await world.engine.inspect(spec.name) is None
    assert await world.engine.containers() == []


# ----------------------------------------------------------------------------------------- remove


async def test_removing_what_is_gone_is_success(world: World):
    await world.engine.remove(f"desk-{new_id()}")


async def test_ten_removals_at_once_all_succeed(world: World):
    spec = await running(world)
    await asyncio.gather(*(world.engine.remove(spec.name, grace=1) for _ in range(10)))
    assert await world.engine.inspect(spec.name) is None
    assert await world.engine.homes() == [spec.home_volume]


async def test_a_container_removed_by_a_lost_call_is_gone(world: World):
    spec = await running(world)
    world.lose_reply("remove")
    with pytest.raises(EngineUnavailable):
        await world.engine.remove(spec.name)
    await world.engine.remove(spec.name)
    assert await world.engine.inspect(spec.name) is None


async def test_a_removed_name_can_be_made_anew_at_once(world: World):
    spec = await running(world)
    await world.engine.remove(spec.name, grace=0)
    assert (await world.engine.create(spec)).state is ContainerState.CREATED


async def test_a_paused_container_is_asked_to_end_and_need_not_be_killed(world: World):
    spec = await running(world)
    await world.engine.pause(spec.name)
    async with asyncio.timeout(10):
        await world.engine.remove(spec.name, grace=30)
    assert await world.engine.containers() == []


async def test_a_killed_container_is_gone_and_killing_it_again_is_success(world: World):
    spec = await running(world)
    for _ in range(2):
        await world.engine.kill(spec.name)
        assert await world.engine.inspect(spec.name) is None
    assert await world.engine.homes() == [spec.home_volume]


async def test_a_paused_a_stopped_and_a_new_container_can_be_killed(world: World):
    paused, dead = await running(world), await running(world)
    new = await made_home(world)
    await world.engine.create(new)
    await world.engine.pause(paused.name)
    await world.kill(dead.name)
    for spec in (paused, dead, new):
        await world.engine.kill(spec.name)
    assert await world.engine.containers() == []


async def test_a_container_killed_by_a_lost_call_is_gone(world: World):
    spec = await running(world)
    world.lose_reply("kill")
    with pytest.raises(EngineUnavailable):
        await world.engine.kill(spec.name)
    await world.engine.kill(spec.name)
    assert await world.engine.inspect(spec.name) is None


# ------------------------------------------------------------------------------------------ sleep


async def test_a_container_sleeps_and_wakes_and_each_call_may_be_repeated(world: World):
    spec = await running(world)
    for call, state in (
        (world.engine.pause, ContainerState.PAUSED),
        (world.engine.unpause, ContainerState.RUNNING),
    ):
        for _ in range(2):
            await call(spec.name)
            assert (await world.engine.inspect(spec.name)).state is state


async def test_ten_callers_at_once_put_it_to_sleep_and_ten_wake_it(world: World):
    spec = await running(world)
    for call, state in (
        (world.engine.pause, ContainerState.PAUSED),
        (world.engine.unpause, ContainerState.RUNNING),
    ):
        await asyncio.gather(*(call(spec.name) for _ in range(10)))
        assert (await world.engine.inspect(spec.name)).state is state


async def test_a_sleep_and_a_waking_of_a_lost_call_are_found(world: World):
    spec = await running(world)
    for method, state in (("pause", ContainerState.PAUSED), ("unpause", ContainerState.RUNNING)):
        call = getattr(world.engine, method)
        world.lose_reply(method)
        with pytest.raises(EngineUnavailable):
            await call(spec.name)
        assert (await world.engine.inspect(spec.name)).state is state
        await call(spec.name)


@pytest.mark.parametrize("noted", ["running", "paused"])
@pytest.mark.parametrize("wanted", ["pause", "unpause"])
async def test_what_the_engine_lost_track_of_sleeps_and_wakes(world: World, noted, wanted):
    """Whatever it takes the container for, the processes do what was asked last."""
    spec = await running(world)
    await world.burn(spec.name)
    if noted == "paused":
        await world.engine.pause(spec.name)
    await world.freeze_unnoticed(spec.name, frozen=noted == "running")
    await asyncio.gather(*(getattr(world.engine, wanted)(spec.name) for _ in range(3)))
    state = ContainerState.PAUSED if wanted == "pause" else ContainerState.RUNNING
    assert (await world.engine.inspect(spec.name)).state is state
    before = await world.engine.cpu_seconds(spec.name)
    if wanted == "unpause":
        await burnt(world, spec.name, before + 0.01)
    else:
        await world.burn(spec.name)
        assert await world.engine.cpu_seconds(spec.name) <= before + 0.01


async def test_what_does_not_run_neither_sleeps_nor_wakes(world: World):
    new, dead = await made_home(world), await running(world)
    await world.engine.create(new)
    await world.kill(dead.name)
    for name in (new.name, dead.name, f"desk-{new_id()}"):
        for call in (world.engine.pause, world.engine.unpause):
            with pytest.raises(NotFound):
                await call(name)
        assert await world.engine.cpu_seconds(name) is None


async def test_one_that_died_in_its_sleep_does_not_wake(world: World):
    spec = await running(world)
    await world.engine.pause(spec.name)
    await world.kill(spec.name)
    with pytest.raises(NotFound):
        await world.engine.unpause(spec.name)


async def test_cpu_time_grows_under_load_and_stands_still_in_sleep(world: World):
    spec = await running(world)
    before = await world.engine.cpu_seconds(spec.name)
    await burnt(world, spec.name, before + 0.05)
    await world.engine.pause(spec.name)
    asleep = await world.engine.cpu_seconds(spec.name)
    await world.burn(spec.name)
    assert await world.engine.cpu_seconds(spec.name) == asleep
    await world.engine.unpause(spec.name)
    await burnt(world, spec.name, asleep + 0.05)


async def test_what_several_use_is_told_at_once(world: World):
    """A sleeping one's too; what does not run is left out."""
    specs = [await running(world) for _ in range(2)]
    await burnt(world, specs[0].name, 0.05)
    await world.engine.pause(specs[1].name)
    names = [*(spec.name for spec in specs), f"desk-{new_id()}"]
    found = await world.engine.usage(names)
    assert set(found) == set(names[:2])
    assert found[specs[0].name].cpu >= 0.05
    assert all(usage.memory > 0 for usage in found.values())
    await world.kill(specs[0].name)
    assert set(await world.engine.usage(names)) == {specs[1].name}


async def test_cpu_time_is_that_of_the_present_run(world: World):
    spec = await running(world)
    used = await burnt(world, spec.name, 0.2)
    await world.kill(spec.name)
    await world.engine.start(spec.name)
    assert await world.engine.cpu_seconds(spec.name) < used


# ----------------------------------------------------------------------------------------- events


async def test_what_happens_is_told_in_order_with_the_session(world: World):
    spec = await world.ready()
    async with world.engine.events() as events:
        await world.engine.create(spec)
        await world.engine.start(spec.name)
        await world.engine.pause(spec.name)
        await world.engine.unpause(spec.name)
        await world.kill(spec.name)
        await world.engine.remove(spec.name)
        got = await told(events, EventKind.DESTROYED)
    kinds = [EventKind.PAUSED, EventKind.UNPAUSED, EventKind.DIED, EventKind.DESTROYED]
    assert [event.kind for event in got] == kinds
    assert {(event.name, event.session_id) for event in got} == {(spec.name, spec.session_id)}


async def test_repeats_that_change_nothing_are_no_events(world: World):
    spec = await running(world)
    async with world.engine.events() as events:
        for _ in range(2):
            await world.engine.pause(spec.name)
        for _ in range(2):
            await world.engine.unpause(spec.name)
        await world.engine.kill(spec.name)
        got = await told(events, EventKind.DESTROYED)
    kinds = [EventKind.PAUSED, EventKind.UNPAUSED, EventKind.DIED, EventKind.DESTROYED]
    assert [event.kind for event in got] == kinds


async def test_a_subscription_stands_when_it_is_entered_and_not_before(world: World):
    """Nothing earlier is told, and nothing later is missed, however late it is asked for."""
    spec = await running(world)
    await world.pause(spec.name)
    for _ in range(5):
        async with world.engine.events() as events:
            await world.unpause(spec.name)
            await world.pause(spec.name)
            await world.engine.inspect(spec.name)
            got = await told(events, EventKind.PAUSED)
        assert [event.kind for event in got] == [EventKind.UNPAUSED, EventKind.PAUSED]


async def test_what_strangers_do_is_told(world: World):
    spec = await running(world)
    async with world.engine.events() as events:
        await world.pause(spec.name)
        await world.unpause(spec.name)
        await world.vanish(spec.name)
        await told(
            events, EventKind.PAUSED, EventKind.UNPAUSED, EventKind.DIED, EventKind.DESTROYED
        )


async def test_the_end_of_a_sleeper_is_told(world: World):
    spec = await running(world)
    await world.engine.pause(spec.name)
    async with world.engine.events() as events:
        await world.engine.remove(spec.name, grace=30)
        await told(events, EventKind.DIED, EventKind.DESTROYED)


@pytest.mark.parametrize("instance", [None, "another"])
async def test_foreign_containers_and_helpers_are_not_told_of(world: World, instance):
    spec, stranger = await running(world), f"desk-{new_id()}"
    async with world.engine.events() as events:
        await world.stranger(stranger, instance=instance)
        await world.end_stranger(stranger)
        await world.ready()
        await world.engine.pause(spec.name)
        assert [event.name for event in await told(events, EventKind.PAUSED)] == [spec.name]


async def test_two_listeners_are_told_the_same(world: World):
    spec = await running(world)
    async with world.engine.events() as one, world.engine.events() as other:
        await world.engine.kill(spec.name)
        assert await told(one, EventKind.DESTROYED) == await told(other, EventKind.DESTROYED)


async def test_an_engine_that_goes_away_ends_the_events_after_what_it_told(world: World):
    spec = await running(world)
    async with world.engine.events() as events:
        await world.engine.pause(spec.name)
        await told(events, EventKind.PAUSED)
        await world.lose_events()
        async with asyncio.timeout(5):
            for _ in range(2):
                with pytest.raises(EngineUnavailable):
                    await anext(events)
    async with world.engine.events() as events:
        await world.engine.unpause(spec.name)
        await told(events, EventKind.UNPAUSED)


async def test_a_listener_that_is_cancelled_leaves_nothing(world: World):
    await world.engine.ping()
    entered = asyncio.Event()

    async def listen() -> None:
        async with world.engine.events() as events:
            entered.set()
            await anext(events)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        await entered.wait()
        task.cancel()
    assert task.cancelled()
    assert listening() == []


async def test_a_listener_that_is_cancelled_while_it_enters_leaves_nothing(world: World):
    async def listen() -> None:
        async with world.engine.events():
            await asyncio.Event().wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    assert listening() == []


async def test_closing_the_engine_ends_the_events(world: World):
    async with world.engine.events() as events:
        await world.engine.close()
        async with asyncio.timeout(5):
            with pytest.raises(EngineUnavailable):
                await anext(events)
        assert listening() == []
    with pytest.raises(EngineUnavailable):
        async with world.engine.events():
            raise AssertionError("nothing was entered")


# -------------------------------------------------------------------------------------------- log


async def test_the_log_of_what_is_absent_or_never_ran_is_empty(world: World):
    assert await world.engine.tail(f"desk-{new_id()}") == ""
    spec = await made_home(world)
    await world.engine.create(spec)
    assert await world.engine.tail(spec.name) == ""


async def test_a_cancelled_start_leaves_what_a_repeat_finds(world: World):
    spec = await world.ready()
    await world.engine.create(spec)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await world.engine.start(spec.name)
    assert (await world.engine.start(spec.name)).state is ContainerState.RUNNING


# ------------------------------------------------------------------------------------- Docker only


@pytest.fixture
async def real(tmp_path):
    async with real_world(engine_host(), tmp_path) as world:
        yield world


@pytest.mark.engine
async def test_a_running_container_is_as_locked_down_as_its_spec_says(real: RealWorld):
    spec = await running(real)
    status = dict(
        line.split(":", 1) for line in real.run_in(spec.name, "cat", "/proc/1/status").splitlines()
    )
    assert {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {
        "CapEff": 0,
        "CapPrm": 0,
        "CapBnd": 0,
    }
    assert int(status["NoNewPrivs"]) == 1
    assert int(status["Seccomp"]) == 2
    assert set(status["Uid"].split()) == {str(UID)}
    assert "read-only" in real.run_in(
        spec.name, "sh", "-c", "touch /x 2>&1 || echo read-only; touch /tmp/x /run/x /home/desk/x"
    )
    assert real.run_in(spec.name, "cat", "/etc/desk/host_key") == "key\n"
    assert real.run_in(spec.name, "sh", "-c", "ulimit -n; ulimit -c") == "4096\n0\n"
    assert real.run_in(spec.name, "cat", "/etc/passwd").startswith("desk:")


@pytest.mark.engine
async def test_the_kernel_holds_the_limits(real: RealWorld):
    spec = await running(real)
    root = "/sys/fs/cgroup"
    for new, old, limit in (
        ("memory.max", "memory/memory.limit_in_bytes", spec.memory),
        ("pids.max", "pids/pids.max", spec.pids),
    ):
        look = f"cat {root}/{new} 2>/dev/null || cat {root}/{old}"
        assert int(real.run_in(spec.name, "sh", "-c", look)) == limit
    assert "size=8192k" in real.run_in(spec.name, "cat", "/proc/mounts").split("/dev/shm")[1]


@pytest.mark.engine
async def test_the_engine_took_all_that_was_asked_for(real: RealWorld):
    spec = await running(real)
    taken = real.raw.inspect_container(spec.name)
    host = taken["HostConfig"]
    asked = {
        "Privileged": False,
        "CapAdd": None,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "Binds": None,
        "Devices": None,
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "IpcMode": "private",
        "NetworkMode": spec.network,
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "NanoCpus": 500_000_000,
        "PidsLimit": spec.pids,
        "ShmSize": spec.shm,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "local", "Config": {"max-file": "2", "max-size": "1m"}},
        "Dns": ["192.0.2.53"],
        "PortBindings": {"2222/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(spec.port)}]},
    }
    assert {name: host[name] or asked[name] for name in asked} == asked
    writable = [mount["Destination"] for mount in taken["Mounts"] if mount["RW"]]
    assert writable == ["/home/desk"]
    assert taken["Config"]["User"] == f"{UID}:{UID}"
    assert taken["Config"]["Hostname"] == desktop_of(spec)


@pytest.mark.engine
async def test_a_home_is_filled_from_the_image_and_all_of_it_is_the_uids(real: RealWorld):
    spec = await running(real)
    owned = real.run_in(
        spec.name, "stat", "-c", "%u:%g", "/home/desk/.profile", "/home/desk/.config/deep"
    )
    assert owned.split() == [f"{UID}:{UID}"] * 2


@pytest.mark.engine
async def test_the_end_of_the_log_is_told(real: RealWorld):
    spec = await running(real)
    async with asyncio.timeout(10):
        while not await real.engine.tail(spec.name):
            await asyncio.sleep(0.05)
    assert await real.engine.tail(spec.name, lines=1) == "started\n"


@pytest.mark.engine
async def test_strays_on_the_bridge_get_no_address_of_the_pool(real: RealWorld):
    spec = await real.ready()
    network = real.raw.inspect_network(spec.network)
    third = int(real.subnet.split(".")[2]) + 3
    pool = network["IPAM"]["Config"][0]
    assert pool["IPRange"] == f"10.213.{third}.240/28"
    assert pool["Gateway"] == real.subnet.replace(".0/22", ".1")
    assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert network["Options"]["com.docker.network.bridge.name"] == bridge_name(real.instance)


@pytest.mark.engine
async def test_a_helper_that_a_crash_left_is_removed_and_its_work_done(real: RealWorld):
    spec = await real.ready()
    real.raw.create_container_from_config(
        {
            "Image": real.image,
            "Labels": {"desk.instance": real.instance, "desk.helper": "home"},
            "HostConfig": {
                "Mounts": [{"Type": "volume", "Source": spec.home_volume, "Target": "/home/desk"}]
            },
        },
        f"{spec.home_volume}-helper",
    )
    assert await real.engine.containers() == []
    await real.engine.ensure_home(
        spec.home_volume, desktop_id=desktop_of(spec), image=spec.image, uid=UID + 1
    )
    assert await real.home_owner(spec.home_volume) == UID + 1
    assert not await real.is_there(f"{spec.home_volume}-helper")


@pytest.mark.engine
async def test_a_process_killed_for_want_of_memory_is_told(real: RealWorld):
    spec = await running(real)
    async with real.engine.events() as events:
        real.run_detached(spec.name, "x=x; while :; do x=$x$x; done")
        assert [event.kind for event in await told(events, EventKind.OOM)] == [EventKind.OOM]
    assert (await real.engine.inspect(spec.name)).state is ContainerState.RUNNING


@pytest.mark.engine
async def test_a_health_check_that_changes_its_mind_is_told(real: RealWorld):
    name = f"desk-{new_id()}"
    labels = {"desk.instance": real.instance, "desk.session": "s", "desk.desktop": "d"}
    check = {"Test": ["CMD", "/bin/sh", "-c", "exit 0"], "Interval": 10_000_000}
    async with real.engine.events() as events:
        real.raw.create_container_from_config(
            {
                "Image": real.image,
                "Labels": labels,
                "Healthcheck": check,
                "HostConfig": {"NetworkMode": "none"},
            },
            name,
        )
        real.raw.start(name)
        (event,) = await told(events, EventKind.HEALTH)
    assert (event.name, event.session_id) == (name, "s")


@pytest.mark.engine
async def test_the_engine_counts_as_the_kernel_does(real: RealWorld, monkeypatch):
    spec = await running(real)
    await real.burn(spec.name)
    before = await real.engine.cpu_seconds(spec.name)
    await real.engine.pause(spec.name)
    own = await real.engine.cpu_seconds(spec.name)
    monkeypatch.setattr("broker.engine.containers.cpu_seconds", lambda *_: None)
    assert own >= before > 0
    assert await real.engine.cpu_seconds(spec.name) == pytest.approx(own, abs=1e-5)


# ---------------------------------------------------------------------------------------- canary


async def test_an_attempt_tells_what_takes_connections_from_inside_the_network(world):
    """And nothing of what does not; whatever an earlier one left is no matter."""
    spec = await world.ready()
    gateway = str(next(ipaddress.IPv4Network(world.subnet).hosts()))
    with world.listening(gateway) as port:
        targets = [(gateway, 9), (gateway, port), ("192.0.2.254", 4712)]
        for _ in range(2):
            reached = await world.engine.attempt(targets, network=spec.network, image=spec.image)
            assert list(reached) == [(gateway, port)]
    assert list(await world.engine.containers()) == []


async def test_an_attempt_without_its_image_says_so(world):
    spec = await world.ready()
    with pytest.raises(ImageMissing):
        await world.engine.attempt([("192.0.2.1", 9)], network=spec.network, image="desk:nowhere")


# ---------------------------------------------------------------------------------------- bounds


async def test_no_home_is_bounded_without_the_image_that_does_it(world):
    spec = await made_home(world)
    with pytest.raises(ImageMissing):
        await world.engine.bound_home(
            spec.home_volume, image="desk:nowhere", uid=spec.uid, size=1 << 30
        )
    with pytest.raises(ImageMissing):
        await world.engine.check_bounds(image="desk:nowhere")
