"""Homes that nobody used for long are packed away, and come back at the next connect."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
from types import SimpleNamespace

import pytest

from broker.core.errors import (
    DeskError,
    EngineUnavailable,
    HomeMissing,
    ImageMissing,
    SessionEnded,
    StartFailed,
    StateUnusable,
)
from broker.core.model import HomeArchive, SessionState
from broker.core.spec import home_volume
from broker.http.models import desktop_out
from broker.service.archives import RESERVE, Archives, NoRoom
from broker.service.services import archive_every
from tests.service.harness import Gate, outage

DAY, HOUR = 86400, 3600
POLICY = {"idle": {"archive_after": "30d"}}
FILES = {"thesis.tex": "draft", "notes": "x" * 100_000}


@pytest.fixture
async def broker(world):
    """A broker that archives after thirty days."""
    return await world.broker(**POLICY)


async def unused(broker, name="ada", *, days=31):
    """A desktop of which nobody used the home for so long."""
    desktop = await broker.desktop(name)
    session = await broker.ensure(desktop)
    broker.world.home(desktop).files |= FILES
    await broker.sessions.stop(session.id, reason="enough", actor="x")
    broker.clock.advance(days * DAY)
    return desktop


async def look(broker, seconds=0):
    broker.clock.advance(seconds)
    await broker.archivist.pass_once()


async def archived(broker, name="ada"):
    """The same, and packed away."""
    desktop = await unused(broker, name)
    await look(broker)
    await look(broker, HOUR)
    packed = await broker.store.desktop(desktop.id)
    assert packed.archive is not None
    return packed


async def is_packed(broker, desktop) -> bool:
    """By its record, its volume and its file alike."""
    current = await broker.store.desktop(desktop.id)
    if current.archive is not None:
        broker.archives.check(desktop.id, current.archive)
    packed = current.archive is not None
    assert packed == (home_volume(desktop.id) not in broker.world.engine.volumes)
    return packed


def file_of(broker, desktop):
    return broker.world.directory / "archive" / f"{desktop.id}.tar.gz"


async def kept(broker, desktop) -> bool:
    """The home is where it was, and nothing half made is left."""
    assert not await is_packed(broker, desktop)
    assert list((broker.world.directory / "archive").glob("*")) == []
    return broker.world.home(desktop).files == FILES


# --------------------------------------------------------------------------------------- policy


async def test_a_home_is_packed_that_nobody_used_for_as_long_as_the_policy_says(broker):
    desktop = await unused(broker, days=29)
    for days in (0, 0.9):
        await look(broker, days * DAY)
        assert not await is_packed(broker, desktop)
    await look(broker, 0.2 * DAY)
    await look(broker, HOUR)
    assert await is_packed(broker, desktop)
    (entry,) = [e for e in await broker.store.audit() if e.action == "home.archive"]
    assert (entry.actor, entry.subject) == ("broker", desktop.id)
    assert entry.detail["size"] == file_of(broker, desktop).stat().st_size


async def test_without_a_policy_no_home_is_ever_packed(world):
    broker = await world.broker()
    desktop = await unused(broker, days=5000)
    for _ in range(3):
        await look(broker, HOUR)
    assert not await is_packed(broker, desktop)


async def test_this_process_must_have_seen_it_due_for_an_hour(world):
    """After a restart nobody is overdue."""
    first = await world.broker(**POLICY)
    desktop = await unused(first)
    await look(first)
    second = await world.broker(**POLICY)
    await look(second, HOUR - 10)
    await look(second, HOUR - 1)
    assert not await is_packed(second, desktop)
    await look(second, 1)
    assert await is_packed(second, desktop)


async def test_a_short_policy_has_a_grace_as_short(world):
    broker = await world.broker(idle={"archive_after": "1m"})
    desktop = await unused(broker, days=1)
    await look(broker)
    await look(broker, 59)
    assert not await is_packed(broker, desktop)
    await look(broker, 1)
    assert await is_packed(broker, desktop)


async def test_a_clock_set_forward_packs_nothing_that_was_used_a_moment_ago(broker):
    desktop = await unused(broker, days=0)
    await look(broker)
    broker.clock.jump(365 * DAY)
    await look(broker)
    await look(broker, HOUR - 1)
    await broker.sessions.stop(
        (await broker.ensure(desktop)).id, reason="used again", actor="user:ada"
    )
    for _ in range(3):
        await look(broker, HOUR)
    assert not await is_packed(broker, desktop)


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_desktop_that_runs_or_sleeps_keeps_its_home(broker, frozen):
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    if frozen:
        assert await broker.freeze(session)
    for days in (31, 1, 1):
        await look(broker, days * DAY)
    assert not await is_packed(broker, desktop)


async def test_the_home_of_a_removed_desktop_is_packed_and_comes_back_with_it(broker):
    desktop = await unused(broker)
    await broker.accounts.remove_desktop(desktop.id, with_home=False, actor="uid:0")
    await look(broker)
    await look(broker, HOUR)
    assert await is_packed(broker, desktop)
    await broker.ensure(await broker.desktop())
    assert broker.world.home(desktop).files == FILES


def test_the_looks_are_as_close_as_the_policy_is_short():
    assert archive_every(None) == archive_every(90 * DAY) == 600
    assert archive_every(600) == 60
    assert archive_every(2) == 1


# -------------------------------------------------------------------------------------- fetching


async def test_the_next_connect_fetches_the_home_and_says_so(broker):
    ada = await broker.person()
    desktop = await archived(broker)
    await broker.route(ada)
    size = "110 KB"
    assert f"Fetching your home from the archive, {size} …" in broker.said
    assert broker.said[-1] == "Starting your desktop 'main' …"
    assert broker.world.home(desktop).files == FILES
    assert not await is_packed(broker, desktop)
    assert "home.restore" in [e.action for e in await broker.store.audit()]
    await broker.check()


async def test_a_home_that_is_back_is_in_the_archive_for_five_minutes_more(broker):
    """By then the volume is on the engine's disk."""
    desktop = await archived(broker)
    await broker.ensure(desktop)
    await look(broker)
    await look(broker, 299)
    assert file_of(broker, desktop).exists()
    await look(broker, 1)
    assert not file_of(broker, desktop).exists()
    assert broker.world.home(desktop).files == FILES


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "another"])
async def test_a_damaged_archive_is_an_alarm_and_starts_nothing(broker, harm):
    desktop = await archived(broker)
    path = file_of(broker, desktop)
    whole = path.read_bytes()
    match harm:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(whole[:-1])
        case "flipped":
            path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
        case "another":
            path.write_bytes(gzip.compress(b""))
    error = await broker.refused(HomeMissing, broker.ensure(desktop))
    assert "put into the archive" in error.public
    assert str(path) in str(error)
    assert broker.world.engine.volumes == {}
    assert broker.world.containers == set()
    path.write_bytes(whole)
    await broker.ensure(desktop)
    assert broker.world.home(desktop).files == FILES


async def test_an_archive_that_does_not_unpack_starts_nothing(broker):
    """Its hash is right and its gzip is not: as from a disk that lies."""
    desktop = await archived(broker)
    path = file_of(broker, desktop)
    path.write_bytes(path.read_bytes()[:-20])
    broker.services.archives.check = lambda *_: None
    error = await broker.refused(HomeMissing, broker.ensure(desktop))
    assert "put into the archive" in error.public
    assert broker.world.containers == set()
    assert (await broker.store.desktop(desktop.id)).archive is not None


async def test_the_time_of_a_start_does_not_count_while_the_home_comes_back(broker):
    desktop = await archived(broker)
    gate = broker.world.engine.before = Gate("import_home")
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    broker.clock.advance(110)
    await asyncio.sleep(0)
    gate.open.set()
    assert (await waiting).state is SessionState.READY


async def test_what_fetches_for_so_long_is_not_taken_for_lost(broker):
    """A reconcile meanwhile leaves it alone, as large as the home may be."""
    desktop = await archived(broker)
    gate = broker.world.engine.before = Gate("import_home")
    huge = HomeArchive(
        at=desktop.archive.at, size=1, unpacked=10 << 30, sha256=desktop.archive.sha256
    )
    broker.archivist.allowance = lambda _found, measure=broker.archivist.allowance: measure(huge)
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    broker.clock.advance(2000)
    await broker.reconcile()
    gate.open.set()
    assert (await waiting).state is SessionState.READY
    await broker.check()


async def test_a_home_that_never_comes_fails_the_start_in_its_own_time(broker):
    desktop = await archived(broker)
    gate = broker.world.engine.before = Gate("import_home")
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    broker.clock.advance(121)
    error = await broker.refused(StartFailed, waiting)
    assert str(error) == "its home of 110 KB was not back within 120 s"
    gate.open.set()
    await broker.ensure(desktop)
    assert broker.world.home(desktop).files == FILES


async def test_a_desktop_can_be_stopped_while_its_home_comes_back(broker):
    desktop = await archived(broker)
    gate = broker.world.engine.before = Gate("import_home")
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    session = await broker.store.live_session(desktop.id)
    await broker.sessions.stop(session.id, reason="enough", actor="x")
    await broker.refused(SessionEnded, waiting)
    gate.open.set()
    assert await is_packed(broker, desktop)


async def test_an_engine_that_goes_away_meanwhile_loses_nothing(broker):
    desktop = await archived(broker)
    lost = EngineUnavailable("gone")
    broker.world.engine.fail_next("import_home", lost, after_effect=True)
    await broker.refused(EngineUnavailable, broker.ensure(desktop))
    await look(broker)
    assert await is_packed(broker, desktop)
    await broker.ensure(desktop)
    assert broker.world.home(desktop).files == FILES


# ------------------------------------------------------------------------------ people come first


async def test_who_connects_while_their_home_is_packed_does_not_wait(broker):
    desktop = await unused(broker)
    await look(broker)
    broker.clock.advance(HOUR)
    gate = broker.world.engine.before = Gate("export_home")
    packing = asyncio.get_running_loop().create_task(broker.archivist.pass_once())
    await gate.reached.wait()
    session = await broker.ensure(desktop)
    assert session.state is SessionState.READY
    await packing
    assert await kept(broker, desktop)
    assert "import_home" not in broker.world.engine.calls


async def test_who_connects_when_the_record_is_written_fetches_the_home(broker):
    """Once the volume is gone, and not a moment before: it would go with what was fetched."""
    desktop = await unused(broker)
    await look(broker)
    broker.clock.advance(HOUR)
    gate, done = Gate("remove_home"), []

    async def before(method):
        await gate(method)
        done.append(method)

    broker.world.engine.before = before
    packing = asyncio.get_running_loop().create_task(broker.archivist.pass_once())
    await gate.reached.wait()
    waiting = broker.begin(desktop)
    await broker.archivist._work.wanted.wait()
    for _ in range(20):  # as many turns as it would take whoever does not wait
        await asyncio.to_thread(int)
    gate.open.set()
    assert (await waiting).state is SessionState.READY
    await packing
    assert done.index("remove_home") < done.index("import_home")
    assert broker.world.home(desktop).files == FILES


async def test_a_session_that_begins_at_the_last_moment_keeps_the_home(broker):
    """The record is the judge, whatever the archivist saw before."""
    desktop = await unused(broker)
    await look(broker)
    broker.clock.advance(HOUR)
    pools = await broker.host.pools()

    async def begin(method):
        if method == "export_home":
            await broker.real_store.begin_session(
                desktop.id,
                host="h",
                image="i",
                pools=pools,
                deadline=broker.clock.now(),
                actor="x",
            )

    broker.world.engine.before = begin
    await broker.archivist.pass_once()
    assert await kept(broker, desktop)


async def test_one_home_is_packed_at_a_time(broker):
    desktops = [await unused(broker, name) for name in ("ada", "bob")]
    await look(broker)
    broker.clock.advance(HOUR)
    gate = broker.world.engine.before = Gate("export_home")
    passes = [
        asyncio.get_running_loop().create_task(broker.archivist.pass_once()) for _ in range(2)
    ]
    await gate.reached.wait()
    assert broker.world.engine.calls.count("export_home") == 1
    gate.open.set()
    await asyncio.gather(*passes)
    assert [await is_packed(broker, desktop) for desktop in desktops] == [True, True]


async def test_a_pass_gives_signs_of_life_while_it_packs(broker):
    await unused(broker)
    await look(broker)
    broker.clock.advance(HOUR)
    gate = broker.world.engine.before = Gate("export_home")
    beats = []
    packing = asyncio.get_running_loop().create_task(
        broker.archivist.pass_once(lambda: beats.append(broker.clock.monotonic()))
    )
    await gate.reached.wait()
    for _ in range(3):
        broker.clock.advance(20)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    gate.open.set()
    await packing
    assert len(beats) == 4


# --------------------------------------------------------------------- what cannot be packed stays


def tar_of(*members, end=True) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, changes in (("desk", {"type": tarfile.DIRTYPE}), *members):
            info = tarfile.TarInfo(name)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info)
    whole = buffer.getvalue()
    return whole if end else whole.rstrip(b"\0") + b"\0" * 600


DEVICE = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 1}
ODD = {
    "nothing": b"",
    "no tar": b"x" * 2048,
    "not even a home": bytes(10240),
    "cut off": tar_of(("desk/a", {}), end=False),
    "outside": tar_of(("etc/passwd", {})),
    "absolute": tar_of(("/desk/a", {})),
    "climbing": tar_of(("desk/../etc/passwd", {})),
    "linked": tar_of(("desk/a", {"type": tarfile.LNKTYPE, "linkname": "etc/shadow"})),
    "device": tar_of(("desk/mem", DEVICE)),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_a_tar_that_could_not_be_unpacked_safely_is_not_kept(broker, odd):
    desktop = await unused(broker)

    async def export(_volume, *, image, sink):
        sink(odd)

    broker.world.engine.export_home = export
    await look(broker)
    await look(broker, HOUR)
    assert await kept(broker, desktop)


def test_links_that_climb_and_whiteouts_are_a_homes_own_affair(tmp_path):
    """They lead out of the home by its owner's wish, and are restored as what they are."""
    link = {"type": tarfile.SYMTYPE, "linkname": "../../etc/passwd"}
    whiteout = {"type": tarfile.CHRTYPE}
    packing = Archives(tmp_path).begin("d")
    packing.write(tar_of(("desk/link", link), ("desk/gone", whiteout)))
    assert packing.seal().members == 3
    packing.give_up()


async def test_a_home_whose_file_does_not_read_back_stays(broker, monkeypatch):
    """As on a disk that loses a byte."""
    desktop = await unused(broker)
    real = broker.services.archives.begin

    def begin(desktop_id):
        packing = real(desktop_id)
        file = packing._file

        def write(data):
            bad = data if len(data) <= 10 else data[:5] + bytes([data[5] ^ 1]) + data[6:]
            return file.write(bad)

        packing._file = SimpleNamespace(
            write=write, flush=file.flush, fileno=file.fileno, close=file.close
        )
        return packing

    monkeypatch.setattr(broker.services.archives, "begin", begin)
    await look(broker)
    await look(broker, HOUR)
    assert await kept(broker, desktop)


async def test_a_home_that_was_changed_on_its_way_to_the_file_stays(broker, monkeypatch):
    """As in a memory that loses a bit: the file is whole, and is not what the engine gave."""
    desktop = await unused(broker)
    real = broker.services.archives.begin

    def begin(desktop_id):
        packing = real(desktop_id)
        inner = packing._gzip
        packing._gzip = SimpleNamespace(
            compress=lambda piece: inner.compress(piece.replace(b"draft", b"drift")),
            flush=inner.flush,
        )
        return packing

    monkeypatch.setattr(broker.services.archives, "begin", begin)
    await look(broker)
    await look(broker, HOUR)
    assert await kept(broker, desktop)


async def test_a_home_that_failed_is_tried_again_in_six_hours_and_stops_no_other(broker):
    ada, bob = await unused(broker, "ada"), await unused(broker, "bob")
    await look(broker)
    broker.world.engine.fail_next("export_home", EngineUnavailable("a bad block"))
    await look(broker, HOUR)
    assert [await is_packed(broker, d) for d in (ada, bob)] == [False, True]
    await look(broker, 6 * HOUR - 1)
    assert not await is_packed(broker, ada)
    await look(broker, 1)
    assert await is_packed(broker, ada)


async def test_a_full_disk_keeps_every_home_for_an_hour(broker):
    ada, bob = await unused(broker, "ada"), await unused(broker, "bob")
    free = [RESERVE - 1]
    broker.services.archives._room = lambda _: (100 * RESERVE, 0, free[0])
    await look(broker)
    await look(broker, HOUR)
    assert "export_home" not in broker.world.engine.calls
    assert [await is_packed(broker, d) for d in (ada, bob)] == [False, False]
    free[0] = RESERVE
    await look(broker, HOUR - 1)
    assert not await is_packed(broker, bob)
    await look(broker, 1)
    assert await is_packed(broker, bob)


def test_what_is_free_is_looked_at_while_it_is_written(tmp_path):
    """And a small file system keeps a tenth."""
    looks = []

    def room(_):
        looks.append(1)
        return (1000, 0, 100 if len(looks) == 1 else 99)

    packing = Archives(tmp_path, room=room).begin("d")
    noise = [bytes(hash((i, j)) & 0xFF for j in range(1 << 16)) for i in range(3)]
    with pytest.raises(NoRoom):
        for i in range(400):
            packing.write(noise[i % 3] * 16)
    packing.give_up()
    assert list(tmp_path.iterdir()) == []


async def test_an_engine_that_goes_away_puts_no_home_off(broker):
    desktop = await unused(broker)
    await look(broker)

    async def away(method):
        broker.world.engine.down = method == "export_home" or broker.world.engine.down

    broker.world.engine.before = away
    broker.clock.advance(HOUR)
    await broker.refused(EngineUnavailable, broker.archivist.pass_once())
    broker.world.engine.before, broker.world.engine.down = None, False
    await look(broker)
    assert await is_packed(broker, desktop)


async def test_an_image_that_is_missing_is_told_by_the_loop_and_puts_no_home_off(broker):
    desktop = await unused(broker)
    await look(broker)
    images, broker.world.engine.images = broker.world.engine.images, {}
    broker.clock.advance(HOUR)
    await broker.refused(ImageMissing, broker.archivist.pass_once())
    broker.world.engine.images = images
    await look(broker)
    assert await is_packed(broker, desktop)


async def test_an_engine_that_is_away_is_told_by_the_loop(broker):
    await unused(broker)
    with outage(broker.world):
        await broker.refused(DeskError, broker.archivist.pass_once())
    await broker.archiving.once()
    assert broker.archiving.check() == "ok"


# -------------------------------------------------------------------------------------- tidying up


async def test_the_volume_that_a_removal_left_goes_later(broker):
    desktop = await unused(broker)
    await look(broker)
    broker.world.engine.fail_next("remove_home", EngineUnavailable("busy"))
    await look(broker, HOUR)
    assert (await broker.store.desktop(desktop.id)).archive is not None
    assert home_volume(desktop.id) in broker.world.engine.volumes
    await look(broker)
    assert await is_packed(broker, desktop)


async def test_a_volume_is_kept_whose_archive_is_damaged(broker):
    """It may be the last copy."""
    desktop = await unused(broker)
    await look(broker)
    broker.world.engine.fail_next("remove_home", EngineUnavailable("busy"))
    await look(broker, HOUR)
    file_of(broker, desktop).write_bytes(b"")
    await look(broker)
    await broker.refused(HomeMissing, broker.ensure(desktop))
    assert broker.world.home(desktop).files == FILES


async def test_files_that_the_records_do_not_explain_stay(broker):
    """A database that came back from an old backup knows less than the disk."""
    desktop = await broker.desktop()
    for stem in ("0123456789abcdef", desktop.id):
        path = broker.world.directory / "archive" / f"{stem}.tar.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a home")
    for _ in range(3):
        await look(broker, DAY)
    assert len(list(path.parent.iterdir())) == 2


async def test_what_a_dead_process_left_half_written_goes(broker):
    part = broker.world.directory / "archive" / "0123456789abcdef.tar.gz.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    await look(broker)
    assert not part.exists()


async def test_a_home_that_comes_back_is_not_tidied_away(broker):
    desktop = await archived(broker)
    gate = broker.world.engine.after = Gate("import_home")
    waiting = broker.begin(desktop)
    await gate.reached.wait()
    await look(broker, 1)
    gate.open.set()
    await waiting
    assert broker.world.home(desktop).files == FILES


# --------------------------------------------------------------------------------- deleted for good


async def test_an_archived_home_is_deleted_with_its_desktop_and_audited(broker):
    desktop = await archived(broker)
    size = file_of(broker, desktop).stat().st_size
    await broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0")
    assert not file_of(broker, desktop).exists()
    assert await broker.store.desktop(desktop.id) is None
    (entry,) = [e for e in await broker.store.audit() if e.action == "home.delete"]
    assert entry.detail == {"volume": home_volume(desktop.id), "archive": size}


async def test_a_removed_desktop_keeps_its_archive(broker):
    desktop = await archived(broker)
    await broker.accounts.remove_desktop(desktop.id, with_home=False, actor="uid:0")
    await look(broker, DAY)
    assert await is_packed(broker, desktop)


async def test_a_home_that_is_packed_just_now_can_be_deleted(broker):
    desktop = await unused(broker)
    await look(broker)
    broker.clock.advance(HOUR)
    gate = broker.world.engine.before = Gate("export_home")
    packing = asyncio.get_running_loop().create_task(broker.archivist.pass_once())
    await gate.reached.wait()
    await broker.accounts.remove_desktop(desktop.id, with_home=True, actor="uid:0")
    await packing
    assert broker.world.engine.volumes == {}
    assert list((broker.world.directory / "archive").iterdir()) == []


# ----------------------------------------------------------------------------------- what is told


async def test_people_are_told_since_when_and_how_large(broker):
    ada = await broker.person()
    desktop = await archived(broker)
    broker.clock.advance(2 * DAY)
    archive = desktop.archive

    async def word(*argv):
        return (await broker.words.answer(ada, argv)).stdout

    assert await word("why") == (
        "main was put into the archive 2 d ago, as nobody used it for long: its home takes"
        f" {archive.size} B there. The next connect fetches it back.\n"
    )
    status = (await word("status")).splitlines()
    assert "state     archived" in status
    assert f"archived  {archive.at.isoformat(timespec='seconds')}, {archive.size} B" in status
    assert "main  archived  -" in await word("list")
    item = desktop_out(desktop, "ada", None)
    assert (item["state"], item["archived_at"], item["archive_size"]) == (
        "archived",
        archive.at.isoformat(),
        archive.size,
    )
    started = json.loads(await word("start", "--json"))
    assert (started["state"], started["archived_at"]) == ("ready", None)
    assert "archived" not in await word("status")
    assert "archive" not in await word("why")


# ------------------------------------------------------------------------------------------ files


def test_archives_are_private_to_the_broker(tmp_path):
    archives = Archives(tmp_path / "archive")
    packing = archives.begin("d")
    packing.write(tar_of())
    packing.seal()
    archives.commit("d")
    packing.give_up()
    assert (tmp_path / "archive").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "archive" / "d.tar.gz").stat().st_mode & 0o777 == 0o600
    assert archives.existing() == ["d"]


def test_an_archive_is_an_ordinary_tar(tmp_path):
    archives = Archives(tmp_path)
    packing = archives.begin("d")
    whole = tar_of(("desk/a", {}))
    for start in range(0, len(whole), 100):
        packing.write(whole[start : start + 100])
    packed = packing.seal()
    archives.commit("d")
    packing.give_up()
    with tarfile.open(tmp_path / "d.tar.gz") as archive:
        assert archive.getnames() == ["desk", "desk/a"]
    assert packed.size == (tmp_path / "d.tar.gz").stat().st_size
    assert packed.unpacked == len(whole)
    assert b"".join(archives.unpack("d")) == whole


def test_a_disk_that_fails_is_told_in_words_of_ours(tmp_path):
    (tmp_path / "archive").write_text("in the way")
    archives = Archives(tmp_path / "archive")
    for attempt in (lambda: archives.begin("d"), lambda: archives.commit("d")):
        with pytest.raises(StateUnusable, match="cannot be written"):
            attempt()
    packing = Archives(tmp_path).begin("d")
    packing.give_up()
    with pytest.raises(StateUnusable, match="cannot be written"):
        packing.write(b"x" * (1 << 20))
        packing.seal()
