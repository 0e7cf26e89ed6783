"""deskd backup and restore: beside a broker that writes, and into a state that is empty."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from contextlib import closing
from datetime import timedelta

import pytest
from click.testing import CliRunner

from broker.cli import backup as module
from broker.cli import deskd
from broker.core.errors import EngineUnavailable
from broker.core.interfaces import Container, ContainerState
from broker.core.manifest import HEAD, MANIFEST
from broker.core.shares import Mode
from broker.core.signins import Proven
from broker.core.spec import home_volume
from broker.db.migrate import head
from broker.db.opening import open_store
from broker.engine.fake import FakeEngine
from broker.service.archives import Archives
from broker.system.clock import SystemClock
from broker.system.hostkey import load_or_make
from broker.system.lock import StateLock
from tests.contract.postgres import PostgresDatabase
from tests.contract.stores import HOST, POOLS, SqliteFile
from tests.scratch import new_directory

D1 = "0123456789abcdef"


def run(*args, code=0):
    """What deskd printed, or complained when it was to fail."""
    result = CliRunner().invoke(deskd.main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout if code == 0 else result.stderr


def configured(directory):
    """The configuration of a state there."""
    directory.mkdir()
    path = directory / "desk.yaml"
    path.write_text(f"state: {directory}/state\ntemplate:\n  image: desk:latest\n")
    return path


def on(config, work):
    """What comes of the work on the state's store."""

    async def do():
        store = await open_store(config.parent / "state" / "desk.db", SystemClock())
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(do())


class Scene:
    """A state with a person, a live session and its keys, a packed home and one on the engine."""

    def __init__(self, config):
        self.config, self.state = config, config.parent / "state"
        self.state.mkdir(mode=0o700)
        SqliteFile.copy(self.state / "desk.db")
        on(config, self.fill)
        load_or_make(self.state / "ssh_host_key")

    async def fill(self, store):
        await store.instance()
        ada = await store.add_user("ada", admin=True, actor="x")
        names = ("main", "packed", "other")
        self.desktops = [
            await store.ensure_desktop(
                ada.id, name, template="default", host=HOST, pools=POOLS, actor="x"
            )
            for name in names
        ]
        live, packed, other = self.desktops
        for desktop in self.desktops:
            await store.note_home(desktop.id, actor="x")
        archives = Archives(self.state / "archive")
        packing = archives.begin(packed.id)
        packing.write(a_home(b"letter"))
        sealed = packing.seal()
        archives.commit(packed.id)
        packing.give_up()
        await store.note_archived(
            packed.id,
            size=sealed.size,
            unpacked=sealed.unpacked,
            sha256=sealed.sha256,
            actor="x",
        )
        session = await store.begin_session(
            live.id,
            host=HOST,
            image="sha256:1",
            pools=POOLS,
            deadline=SystemClock().now(),
            actor="x",
        )
        self.session = session.id
        for name, mode in (("client_key", 0o400), ("authorized_keys", 0o444)):
            path = self.state / "sessions" / session.id / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(f"the {name}")
            path.chmod(mode)
        (self.state / "sessions" / D1).mkdir()
        (self.state / "sessions" / D1 / "client_key").write_text("of an ended one")
        self.live, self.packed, self.other = live.id, packed.id, other.id


def a_home(text):
    """The tar of a home with one letter in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        root = tarfile.TarInfo("desk")
        root.type = tarfile.DIRTYPE
        tar.addfile(root)
        letter = tarfile.TarInfo("desk/letter")
        letter.size = len(text)
        tar.addfile(letter, io.BytesIO(text))
    return buffer.getvalue()


def files_of(state):
    """Every file of a state that a backup is for, its mode and its content."""
    return {
        str(path.relative_to(state)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in state.rglob("*")
        if path.is_file() and path.name not in {"lock", "desk.db", "desk.db-wal", "desk.db-shm"}
    }


async def answers(store):
    """What the state says, as the API would tell it."""
    people = await store.users()
    return (
        await store.instance(),
        people,
        await store.desktops(removed=True),
        await store.live_sessions(),
        await store.leases(),
        await store.audit_chain(limit=1000),
        await store.verify_audit(),
    )


async def openings(store, desktop_id):
    """A browser that is signed in, and a guest who asks to see that desktop."""
    ada = await store.user("ada")
    proven = Proven(credential="SHA256:x", method="key")
    await store.add_sign_in(
        ada.id,
        secret_hash="1" * 64,
        proven=proven,
        address="192.0.2.1",
        browser="x",
        most=9,
        actor="x",
    )
    await store.add_link(
        ada.id,
        token_hash="2" * 64,
        proven=proven,
        expires_at=SystemClock().now() + timedelta(hours=1),
        most=9,
        actor="x",
    )
    await store.add_share(
        desktop_id,
        token_hash="3" * 64,
        mode=Mode.LOOK,
        expires_at=SystemClock().now() + timedelta(hours=1),
        most=9,
        actor="x",
    )


async def count_openings(store, desktop_id):
    return len(await store.sign_ins()), len(await store.shares(desktop_id=desktop_id))


@pytest.fixture
def tmp_path():
    """In memory, where no commit waits for the disk."""
    directory = new_directory(memory=True)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def scene(tmp_path):
    return Scene(configured(tmp_path / "here"))


@pytest.fixture
def there(tmp_path):
    """Another place, which has nothing yet."""
    return configured(tmp_path / "there")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "desk.tar"


def no_leftovers(scene, file):
    assert not list(scene.state.glob("*.part"))
    assert not list(file.parent.glob(".*"))


# ----------------------------------------------------------------------------- there and back


def test_what_was_backed_up_comes_back(scene, there, file):
    """The same answers, the same keys, the same modes; nothing of what does not belong to it."""
    told = json.loads(run("backup", file, "--json", "--config", scene.config))
    assert (told["homes"], told["left_out"], told["bytes"]) == ([], [], file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    no_leftovers(scene, file)
    before = on(scene.config, answers)
    said = run("restore", file, "--config", there)
    assert said.startswith(f"{there.parent}/state: restored the backup of ")
    assert on(there, answers) == before
    assert before[-1].problem is None
    wanted = files_of(scene.state)
    del wanted[f"sessions/{D1}/client_key"]
    state = there.parent / "state"
    assert files_of(state) == wanted
    assert {stat.S_IMODE(p.stat().st_mode) for p in state.rglob("*") if p.is_dir()} == {0o700}
    assert not list(state.glob("*.part"))


def test_a_backup_brings_back_no_browser_and_no_guest(scene, there, file):
    """Some of them may have been sent away since."""
    on(scene.config, lambda store: openings(store, scene.live))
    assert on(scene.config, lambda store: count_openings(store, scene.live)) == (1, 1)
    run("backup", file, "--config", scene.config)
    run("restore", file, "--config", there)
    assert on(there, lambda store: count_openings(store, scene.live)) == (0, 0)
    assert on(scene.config, lambda store: count_openings(store, scene.live)) == (1, 1)


def test_a_backup_is_of_one_moment_while_others_write(scene, there, file):
    """Whose writing it does not hold up: what is in it is whole, and its audit's chain too."""
    stop, written = threading.Event(), []

    def write():
        async def go(store):
            while not stop.is_set():
                await store.note(actor="x", action="a.b", subject="s", detail={"n": len(written)})
                written.append(None)

        on(scene.config, go)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(written) < 20:
            stop.wait(0.01)
        with StateLock(scene.state / "lock"):
            run("backup", file, "--config", scene.config)
        during = len(written)
        while len(written) < during + 20:
            stop.wait(0.01)
    finally:
        stop.set()
        thread.join()
    run("restore", file, "--config", there)
    verification = on(there, answers)[-1]
    assert verification.problem is None
    assert 20 <= verification.entries <= during + 50


def test_the_configuration_comes_back_where_there_is_none(scene, tmp_path, file):
    """And stays what it is where there is one."""
    run("backup", file, "--config", scene.config)
    text = scene.config.read_text()
    shutil.rmtree(scene.state)
    scene.config.unlink()
    said = run("restore", file, "--config", scene.config)
    assert said.splitlines()[-1] == f"The configuration is in {scene.config}."
    assert scene.config.read_text() == text
    assert stat.S_IMODE(scene.config.stat().st_mode) == 0o600


def test_an_older_schema_comes_back_and_is_told(scene, there, file):
    """It wants a migration, as it did where it came from."""
    with closing(sqlite3.connect(scene.state / "desk.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0003'")
    run("backup", file, "--config", scene.config)
    said = run("restore", file, "--config", there)
    assert "Run `deskd migrate` before it is started: its schema is older." in said


# -------------------------------------------------------------------------------------- homes


@pytest.fixture
def engine(scene, monkeypatch):
    """One in memory, for both commands, with the homes of two desktops and a running container."""
    made = FakeEngine(on(scene.config, lambda store: store.instance()))

    async def fill():
        for desktop, text in ((scene.live, "draft"), (scene.other, "poem")):
            volume = home_volume(desktop)
            await made.ensure_home(volume, desktop_id=desktop, image="desk:latest", uid=200000)
            made.volumes[volume].files["letter"] = text

    asyncio.run(fill())

    class Lent:
        def __getattr__(self, name):
            return getattr(made, name)

        async def close(self):
            """It outlives the command."""

    monkeypatch.setattr(module, "DockerEngine", lambda *_args, **_named: Lent())
    return made


def letters(engine):
    return {name: home.files.get("letter") for name, home in engine.volumes.items()}


def test_homes_go_along_where_that_is_asked(scene, there, file, engine):
    """As they are on the engine; packed ones are in every backup."""
    before = letters(engine)
    told = json.loads(run("backup", file, "--homes", "--json", "--config", scene.config))
    assert (told["homes"], told["left_out"]) == (sorted([scene.live, scene.other]), [])
    engine.volumes.clear()
    said = run("restore", file, "--config", there)
    assert said.endswith(", with 2 homes.\n")
    assert letters(engine) == before
    no_leftovers(scene, file)


def test_homes_stay_away_where_that_is_asked(scene, there, file, engine):
    """Nothing of the engine's is touched."""
    run("backup", file, "--homes", "--config", scene.config)
    engine.volumes.clear()
    engine.down = True
    run("restore", file, "--no-homes", "--config", there)
    assert engine.volumes == {}


def test_a_home_that_is_in_use_is_left_out_and_told(scene, file, engine):
    """What somebody writes to would be torn. One that sleeps goes along."""

    def running(state):
        one = Container(
            name="c",
            state=state,
            desktop_id=scene.live,
            session_id=scene.session,
            spec_hash="",
            address=None,
            exit_code=None,
            oom_killed=False,
        )

        async def containers():
            return [one]

        engine.containers = containers

    running(ContainerState.RUNNING)
    told = run("backup", file, "--homes", "--config", scene.config).splitlines()
    (left_out,) = told[1:]
    assert left_out.startswith(f"The home of desktop {scene.live} is left out: the desktop runs.")
    file.unlink()
    running(ContainerState.PAUSED)
    assert "left out" not in run("backup", file, "--homes", "--config", scene.config)


def test_a_home_that_was_written_to_meanwhile_is_left_out(scene, file, engine):
    """It woke while it was read."""
    states = iter([ContainerState.PAUSED, ContainerState.RUNNING])

    async def containers():
        state = next(states, ContainerState.PAUSED)
        return [
            Container(
                name="c",
                state=state,
                desktop_id=min(scene.live, scene.other),
                session_id=scene.session,
                spec_hash="",
                address=None,
                exit_code=None,
                oom_killed=False,
            )
        ]

    engine.containers = containers
    told = json.loads(run("backup", file, "--homes", "--json", "--config", scene.config))
    assert told["homes"] == [max(scene.live, scene.other)]
    assert len(told["left_out"]) == 1


def test_a_home_that_is_gone_is_told(scene, file, engine):
    """The rest is backed up all the same."""
    del engine.volumes[home_volume(scene.other)]
    told = json.loads(run("backup", file, "--homes", "--json", "--config", scene.config))
    assert told["homes"] == [scene.live]
    assert told["left_out"][0].startswith(f"The home of desktop {scene.other} is left out: ")


def test_packed_homes_that_are_not_whole_are_told(scene, file):
    """Missing, damaged."""
    path = scene.state / "archive" / f"{scene.packed}.tar.gz"
    path.write_bytes(b"x")
    told = json.loads(run("backup", file, "--json", "--config", scene.config))["left_out"]
    assert told == [
        f"The packed home of desktop {scene.packed} is damaged: its SHA-256 is not the record's."
    ]
    file.unlink()
    path.unlink()
    told = json.loads(run("backup", file, "--json", "--config", scene.config))["left_out"]
    assert told == [f"The packed home of desktop {scene.packed} is missing."]


def test_a_packed_home_that_is_fetched_meanwhile_is_in_it(scene, file, monkeypatch):
    """Its file goes when it is back: it was held from before the state was copied."""
    copy = module.copies.copy

    def fetched(*paths):
        copy(*paths)
        (scene.state / "archive" / f"{scene.packed}.tar.gz").unlink()

    monkeypatch.setattr(module.copies, "copy", fetched)
    told = json.loads(run("backup", file, "--json", "--config", scene.config))
    assert told["left_out"] == []


# ------------------------------------------------------------------------- what is not restored


def refused(*words, there, code=1):
    """What was said; nothing is where a state was to be."""
    state = there.parent / "state"
    before = sorted(state.rglob("*")) if state.exists() else []
    said = run(*words, "--config", there, code=code)
    assert said.count("\n") == 1
    after = sorted(p for p in state.rglob("*") if p.name != "lock") if state.exists() else []
    assert after == [p for p in before if p.name != "lock"]
    return said


@pytest.fixture
def backed_up(scene, file):
    run("backup", file, "--config", scene.config)
    return file


def rewritten(file, change):
    """The backup once more, each of its files as `change` makes it; None leaves it out."""
    with tarfile.open(file) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(file, "w") as tar:
        for member, data in members:
            changed = change(member.name, data)
            if changed is not None:
                member.size = len(changed)
                tar.addfile(member, io.BytesIO(changed))


def test_a_state_that_is_there_is_left_alone(scene, backed_up):
    """Whatever is in it."""
    said = refused("restore", backed_up, there=scene.config)
    assert said == (
        f"{scene.state}: there is a state already (desk.db); restore into an empty one."
        " (state_unusable)\n"
    )
    (scene.state / "desk.db").unlink()
    assert "(audit.key)" in refused("restore", backed_up, there=scene.config)


def test_a_running_broker_is_not_restored_under(there, backed_up):
    """Its process is named."""
    state = there.parent / "state"
    state.mkdir(mode=0o700)
    with StateLock(state / "lock"):
        said = refused("restore", backed_up, there=there)
    assert f"another broker (process {os.getpid()}) uses this state" in said


@pytest.mark.parametrize("cut", [1, 5000, 0.5, 0.9])
def test_a_backup_without_its_end_is_refused(there, backed_up, cut):
    """Wherever it was cut off."""
    data = backed_up.read_bytes()
    backed_up.write_bytes(data[: cut if cut >= 1 else int(len(data) * cut)])
    said = refused("restore", backed_up, there=there)
    assert said.startswith(f"{backed_up}: it is ")
    assert said.endswith(" (backup_unusable)\n")


@pytest.mark.parametrize("name", ["desk.db", "audit.key", "desk.yaml", "ssh_host_key"])
def test_a_backup_of_which_one_byte_is_wrong_is_refused(there, backed_up, name):
    """And the file is named."""
    rewritten(backed_up, lambda n, data: bytes([data[0] ^ 1]) + data[1:] if n == name else data)
    said = refused("restore", backed_up, there=there)
    assert said == (
        f"{backed_up}: it is damaged: {name} is not what was backed up (backup_unusable)\n"
    )


def test_what_lies_outside_the_state_is_never_written(there, backed_up, tmp_path):
    """Though the manifest names it."""

    def change(name, data):
        if name != MANIFEST:
            return data
        told = json.loads(data)
        told["files"]["../../escaped"] = told["files"]["audit.key"]
        return json.dumps(told).encode()

    rewritten(backed_up, change)
    said = refused("restore", backed_up, there=there)
    assert "its manifest is not one of Desk's" in said
    assert not list(tmp_path.rglob("escaped"))


def test_a_backup_of_a_newer_desk_is_refused(there, backed_up):
    """By its form before anything else, and by its schema."""

    def newer_schema(name, data):
        if name != MANIFEST:
            return data
        return json.dumps(json.loads(data) | {"schema": "9999"}).encode()

    def newer_form(name, data):
        told = {"format": 2, "made_by": "7.1"}
        return json.dumps(told).encode() if name == HEAD else data

    rewritten(backed_up, newer_schema)
    assert "the state has schema 9999, made by a newer Desk" in refused(
        "restore", backed_up, there=there
    )
    rewritten(backed_up, newer_form)
    assert refused("restore", backed_up, there=there) == (
        f"{backed_up}: it was made by a newer Desk (7.1): restore it with that one"
        " (backup_unusable)\n"
    )


def test_another_file_is_no_backup(there, tmp_path):
    """A tar of somebody's, no tar at all, nothing."""
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.addfile(tarfile.TarInfo("desk.db"))
    assert "it is no backup of Desk's" in refused("restore", other, there=there)
    other.write_text("hello " * 500)
    assert "it is no backup of Desk's" in refused("restore", other, there=there)
    said = refused("restore", tmp_path / "absent", there=there)
    assert (
        said == f"{tmp_path}/absent: cannot be read: No such file or directory (backup_unusable)\n"
    )


def test_homes_that_are_there_already_are_kept(scene, there, file, engine):
    """The sentence says what to do; nothing is done."""
    run("backup", file, "--homes", "--config", scene.config)
    before = letters(engine)
    said = refused("restore", file, there=there)
    assert "or restore with --no-homes" in said
    assert letters(engine) == before


def test_a_restore_that_fails_in_the_middle_leaves_nothing(scene, there, file, engine):
    """Neither files nor the homes that were brought."""
    run("backup", file, "--homes", "--config", scene.config)
    engine.volumes.clear()
    engine.fail_next("import_home", EngineUnavailable("no room"), after_effect=True)
    assert "no room" in refused("restore", file, there=there)
    assert engine.volumes == {}


KILLED = """
import os, pathlib, sys
from broker.cli import backup
from broker.service import restore
rename = pathlib.Path.rename
left = [2]
def die(self, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    return rename(self, target)
pathlib.Path.rename = die
backup.restore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), homes=False)
"""


def test_a_restore_that_was_killed_is_no_state_and_can_be_repeated(scene, there, backed_up):
    """Nobody makes a new one out of its half."""
    command = [sys.executable, "-c", KILLED, str(there), str(backed_up)]
    assert subprocess.run(command, check=False).returncode == 9
    state = there.parent / "state"
    assert (state / "restore.part").exists()
    assert not (state / "desk.db").exists()
    said = run("migrate", "--config", there, code=1)
    assert said == (
        f"{state}: a restore of this state was cut off; repeat `deskd restore`. (state_unusable)\n"
    )
    run("restore", backed_up, "--config", there)
    assert on(there, answers) == on(scene.config, answers)
    assert not list(state.glob("*.part"))


# ------------------------------------------------------------------------- what is not backed up


def test_a_file_that_is_there_is_not_written_over(scene, file):
    """Whatever it is."""
    file.write_text("mine")
    assert run("backup", file, "--config", scene.config, code=1) == (
        f"{file}: is there already; name a new file (backup_unusable)\n"
    )
    assert file.read_text() == "mine"


def test_a_backup_that_fails_leaves_nothing(scene, file, monkeypatch, tmp_path):
    """Neither half a file nor what it worked with; a place that cannot be written to is told."""
    monkeypatch.setattr(module, "DockerEngine", lambda *_a, **_n: (_ for _ in ()).throw(OSError(5)))
    run("backup", file, "--homes", "--config", scene.config, code=1)
    assert not file.exists()
    no_leftovers(scene, file)
    said = run("backup", tmp_path / "no" / "where", "--config", scene.config, code=1)
    assert said.endswith("cannot be written: No such file or directory (backup_unusable)\n")
    no_leftovers(scene, file)


def test_there_is_one_backup_at_a_time(scene, file):
    """And what a killed one left is cleared away."""
    part = scene.state / "backup.part"
    part.mkdir()
    (part / "desk.db").write_text("half")
    (part / "archive").mkdir()
    with module.workplace(scene.state):
        said = run("backup", file, "--config", scene.config, code=1)
        assert "another backup of this state is being made" in said
    part.mkdir()
    (part / "desk.db").write_text("half")
    run("backup", file, "--config", scene.config)
    no_leftovers(scene, file)


def test_a_damaged_database_is_not_backed_up(scene, file):
    """A backup of it would take the place of one that is good."""
    (scene.state / "desk.db").write_bytes(b"junk " * 1000)
    for name in ("desk.db-wal", "desk.db-shm"):
        (scene.state / name).unlink(missing_ok=True)
    assert "(state_unusable)" in run("backup", file, "--config", scene.config, code=1)
    assert not file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can do as another")
def test_what_root_does_leaves_the_state_to_its_owner(scene, there, file, tmp_path, monkeypatch):
    """A file of root's would keep the broker out; the backup itself is root's."""
    copy, opened = module.copies.copy, []
    monkeypatch.setattr(
        module.copies, "copy", lambda *paths: (opened.append(os.geteuid()), copy(*paths))
    )
    for path in (scene.state, *scene.state.rglob("*")):
        os.chown(path, 65534, 65534)
    state = there.parent / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 65534, 65534)
    for parent in (scene.config.parent, there.parent, tmp_path):
        parent.chmod(0o755)
    run("backup", file, "--config", scene.config)
    assert (file.stat().st_uid, opened) == (0, [65534])
    assert {path.stat().st_uid for path in scene.state.rglob("*")} == {65534}
    run("restore", file, "--config", there)
    assert {path.stat().st_uid for path in state.rglob("*")} == {65534}


# --------------------------------------------------------------------------------- PostgreSQL


def with_postgres(config, directory):
    """The configuration's state is in a database without tables from now on; its address."""
    database = PostgresDatabase(directory, template="template0").at(config.parent / "state")
    config.write_text(f"{config.read_text()}database: {database.url}\n")
    return database


def of(database, work):
    """What comes of the work on the store there."""

    async def do():
        store = await open_store(database, SystemClock())
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(do())


def test_a_backup_goes_from_one_kind_of_database_to_the_other(scene, there, file, tmp_path):
    """And back: the same answers and keys each time."""
    before = on(scene.config, answers)
    run("backup", file, "--config", scene.config)
    database = with_postgres(there, tmp_path)
    run("restore", file, "--config", there)
    assert of(database, answers) == before
    state = there.parent / "state"
    assert not list(state.glob("desk.db*"))
    assert (state / "audit.key").read_bytes() == (scene.state / "audit.key").read_bytes()
    again = tmp_path / "again.tar"
    told = json.loads(run("backup", again, "--json", "--config", there))
    assert (told["schema"], told["left_out"]) == (head(), [])
    back = configured(tmp_path / "back")
    run("restore", again, "--config", back)
    assert on(back, answers) == before


def test_a_restore_into_a_database_that_holds_something_leaves_nothing(
    scene, there, backed_up, tmp_path
):
    """The files are not there either."""
    with_postgres(there, tmp_path)
    run("migrate", "--config", there)
    said = refused("restore", backed_up, there=there)
    assert "there is something in it; name an empty database" in said


def test_a_database_is_copied_and_compared(scene, tmp_path):
    """There, and back to a new file; what there is to set is told."""
    before = on(scene.config, answers)
    place = PostgresDatabase(tmp_path, template="template0").at(scene.state)
    copy = ("copy-database", "--config", scene.config)
    told = json.loads(run(*copy, scene.state / "desk.db", place.url, "--json"))
    assert (told["schema"], told["audit"]["problem"]) == (head(), None)
    assert told["rows"]["audit"] == told["audit"]["entries"] == len(before[-2])
    assert of(place, answers) == before
    said = run(*copy, place.url, tmp_path / "back.db")
    assert said.splitlines()[1:] == [
        f"The audit there: its {len(before[-2])} entries are as they were written.",
        "Set no 'database' in the configuration before you start Desk.",
    ]
    assert [path.name for path in tmp_path.glob("back.db*")] == ["back.db"]
    assert stat.S_IMODE((tmp_path / "back.db").stat().st_mode) == 0o600
    for target, why in ((tmp_path / "back.db", "is there already"), (place.url, "something in it")):
        assert why in run(*copy, scene.state / "desk.db", target, code=1)
    assert of(place, answers) == before
    said = run(*copy, scene.state / "desk.db", "postgresql+asyncpg://a:b@localhost/c", code=2)
    assert "allowed is an address without a password" in said
    with StateLock(scene.state / "lock"):
        said = run(*copy, place.url, tmp_path / "other.db", code=1)
    assert "another broker" in said
    assert not list(tmp_path.glob("other.db*"))
