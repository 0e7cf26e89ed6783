"""deskctl against a real API: tables, JSON, and one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from broker.cli import ctl_desktop, deskctl
from broker.core.gateway import Activity, Attachment
from broker.core.idle import Signal
from tests.cli.tables import rows, table
from tests.service.harness import new_key, outage

# ---------------------------------------------------------------------------------- users, keys


def test_a_user_is_added_listed_and_removed(served, run, pub):
    """Sentences for people, a table in columns."""
    assert run("user", "add", "ada", "--key", str(pub)) == "User ada is there, with 1 keys.\n"
    assert run("user", "add", "bob", "--admin") == (
        "User bob is there, with 0 keys; give a key with: deskctl user key add bob --key FILE.\n"
    )
    head, ada, bob = rows(run("user", "ls"))
    assert head == ["NAME", "ADMIN", "ENABLED", "SOURCE", "KEYS", "CREATED", "AT"]
    assert ada[:5] == ["ada", "no", "yes", "local", "1"]
    assert bob[:5] == ["bob", "yes", "yes", "local", "0"]
    assert "Homes are kept" in run("user", "rm", "ada", "--yes")
    assert [row[0] for row in rows(run("user", "ls"))] == ["NAME", "bob"]


def test_everything_is_json_for_programs(served, run, pub):
    """One document on standard output."""
    made = json.loads(run("--json", "user", "add", "ada", "--key", str(pub)))
    assert (made["name"], made["keys"]) == ("ada", 1)
    assert json.loads(run("--json", "user", "ls"))[0]["id"] == made["id"]
    (key,) = json.loads(run("--json", "user", "key", "ls", "ada"))
    gone = json.loads(run("--json", "user", "key", "rm", "ada", key["fingerprint"]))
    assert gone == {"key": key["fingerprint"]}
    added = json.loads(run("--json", "user", "key", "add", "ada", "--key", str(pub)))
    assert [item["fingerprint"] for item in added["items"]] == [key["fingerprint"]]
    assert json.loads(run("--json", "user", "rm", "ada", "--yes")) == {"name": "ada"}
    for noun in ("session", "attachment", "desktop", "lease", "invite", "group", "login-block"):
        assert json.loads(run("--json", noun, "ls")) == []


def test_keys_come_from_files_and_from_standard_input(served, run, pub, tmp_path):
    """Several at once; '-' reads what is piped in."""
    lines = [new_key()[1] for _ in range(3)]
    (tmp_path / "two.pub").write_text("\n".join(lines[:2]) + "\n")
    run("user", "add", "ada", "--key", str(pub), "--key", "-", input=lines[2])
    told = run("user", "key", "add", "ada", "--key", str(tmp_path / "two.pub"))
    assert told.count("SHA256:") == 2
    assert told.endswith(" now proves ada.\n")
    head, *keys = rows(run("user", "key", "ls", "ada"))
    assert head[:3] == ["FINGERPRINT", "TYPE", "NAME"]
    names = ["ada@laptop", "ada@laptop-2", "ada@laptop-3", "ada@laptop-4"]
    assert [row[1:3] for row in keys] == [["ssh-ed25519", name] for name in names]


def test_a_key_file_that_is_none_is_refused_before_anything_is_made(served, refused, run, tmp_path):
    """Absent, empty, no text, private: exit code 2 and the file's name."""
    for name, content, said in (
        ("absent.pub", None, "cannot be read as a public key"),
        ("empty.pub", b"# nothing\n\n", "there is no key in it."),
        ("binary.pub", b"\xff\xfe", "cannot be read as a public key"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        complaint = refused("user", "add", "ada", "--key", str(path), code=2)
        assert complaint.startswith(f"{path}: {said}")
        assert complaint.endswith("(bad_request)")
    assert rows(run("user", "ls"))[1:] == []


def test_a_private_key_never_leaves_the_machine(served, refused, tmp_path):
    """Only its first line is sent, to be refused."""
    path = tmp_path / "id_ed25519"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END\n")
    seen = []
    original = deskctl.Client.call

    def watch(self, *args, **kwargs):
        seen.append(kwargs.get("body"))
        return original(self, *args, **kwargs)

    deskctl.Client.call = watch
    try:
        said = refused("user", "add", "ada", "--key", str(path))
    finally:
        deskctl.Client.call = original
    assert said.startswith("This is a private key; keep it to yourself")
    assert "c2VjcmV0" not in json.dumps(seen)


def test_a_fingerprint_with_slashes_is_found(served, run):
    """It is one part of the path, whatever it holds."""
    run("user", "add", "ada")
    fingerprint = ""
    while "/" not in fingerprint:
        key, line = new_key()
        fingerprint = key.fingerprint
        run("user", "key", "add", "ada", "--key", "-", input=line)
    assert run("user", "key", "rm", "ada", fingerprint) == (
        f"{fingerprint} proves nobody any more.\n"
    )


# --------------------------------------------------------------------- sessions, desktops, leases


def start(served, user="ada", name="main"):
    async def begin():
        desktop = await served.broker.desktop(user, name)
        return desktop, await served.broker.ensure(desktop)

    return served.do(begin())


def test_sessions_are_listed_and_stopped(served, run):
    """Each column whole in a pipe; the stop tells whose home is kept."""
    _, session = start(served)
    served.do(watch_and_wait(served, session))
    head, row = table(run("session", "ls"))
    assert head == [
        "ID",
        "USER",
        "DESKTOP",
        "STATE",
        "DISPLAY",
        "ATTACHED",
        "KINDS",
        "IDLE",
        "NEXT",
    ]
    assert row == [
        session.id,
        "ada",
        "main",
        "ready",
        str(session.display),
        "1",
        "shell, xpra",
        "3 min",
        "freeze in 57 min",
    ]
    assert run("session", "stop", session.id) == (
        f"Session {session.id} ended; the home of ada is kept.\n"
    )
    assert rows(run("session", "ls"))[1:] == []


async def watch_and_wait(served, session, *, client="SSH-2.0-OpenSSH_10.0"):
    """Somebody came three minutes ago, and has done nothing since."""
    broker = served.broker
    await broker.reaper.pass_once()
    here = Attachment(
        id="a", session_id=session.id, user="ada", peer="203.0.113.9:50000", client=client
    )
    kinds = ("shell", "xpra")
    broker.presence.report(
        "door",
        [Activity(attachment=here, attached_for=0.0, kinds=kinds, ages={Signal.TYPING: 0.0})],
    )
    broker.clock.advance(180)


def test_a_session_is_explained(served, run):
    """Whose it is, and each line that its user would read."""
    _, session = start(served)
    served.do(watch_and_wait(served, session))
    lines = run("session", "why", session.id).splitlines()
    assert lines[0] == "Of ada: main is awake, 1 attached."
    assert any(line.endswith("3 min ago   <- this counts") for line in lines)
    assert "it goes to sleep in 57 min" in lines[-1]
    told = json.loads(run("session", "why", session.id, "--json"))
    assert (told["user"], told["session"], told["next_in"]) == ("ada", session.id, 57 * 60)


def test_a_session_is_kept_and_let_go(served, run, refused):
    """In the words of `desk extend`."""
    _, session = start(served)
    assert run("session", "extend", session.id, "4h") == (
        f"Session {session.id} is kept for 4 h; next: freeze in 4 h.\n"
    )
    assert json.loads(run("session", "extend", session.id, "4h", "--json"))["next_in"] == 4 * 3600
    assert run("session", "extend", session.id, "0") == (
        f"Session {session.id} is no longer kept; next: freeze in 1 h.\n"
    )
    assert refused("session", "extend", session.id, "soon") == (
        "'soon' is no time: allowed is a number and a unit: 30s, 10m, 8h, 7d, or 0. (bad_request)"
    )


def test_a_session_is_frozen(served, run):
    """It is told what wakes it; then it has no idle time, and a stop ahead."""
    _, session = start(served)
    served.do(watch_and_wait(served, session))
    assert run("session", "freeze", session.id) == (
        f"Session {session.id} sleeps; the next connect of ada wakes it.\n"
    )
    served.do(served.broker.reaper.pass_once())
    row = table(run("session", "ls"))[1]
    assert (row[3], row[7], row[8]) == ("frozen", "-", "stop in 1 d")


def test_a_session_that_is_due_says_so(served, run):
    """Nobody looked for a moment."""
    _, session = start(served)
    served.do(watch_and_wait(served, session))
    served.broker.clock.advance(3600)
    row = table(run("session", "ls"))[1]
    assert (row[7], row[8]) == ("1 h 3 min", "freeze now")


def test_a_session_is_killed_without_a_question(served, run, refused):
    """`--force` where the engine is silent, and its help says what that means."""
    _, session = start(served)
    assert run("session", "kill", session.id) == (
        f"Session {session.id} ended; the home of ada is kept.\n"
    )
    _, session = start(served, "bob")
    with outage(served.world):
        assert refused("session", "kill", session.id).endswith("(engine_unavailable)")
        ended = json.loads(run("session", "kill", "--force", session.id, "--json"))
    assert ended["state"] == "ended"
    told = " ".join(run("session", "kill", "--help").split())
    assert "even when the engine does not answer" in told
    assert "removed once the engine is back" in told


def test_attachments_are_listed(served, run):
    """A client's own name for itself commands no terminal."""
    _, session = start(served)
    served.do(watch_and_wait(served, session, client="SSH-2.0-\x1b[2J\u202e\n"))
    head, row = table(run("attachment", "ls"))
    assert head == ["USER", "DESKTOP", "SESSION", "KINDS", "SINCE", "FROM", "CLIENT", "IDLE"]
    assert row == [
        "ada",
        "main",
        session.id,
        "shell, xpra",
        "2030-01-01 09:00:01Z",
        "203.0.113.9:50000",
        r"SSH-2.0-\x1b[2J\u202e\n",
        "3 min",
    ]
    (item,) = json.loads(run("--json", "attachment", "ls"))
    assert (item["user"], item["idle"]) == ("ada", 180)


def test_leases_are_listed(served, run):
    """A uid has no session."""
    desktop, session = start(served)
    held = {(row[0], row[1], row[3]) for row in rows(run("lease", "ls"))[1:]}
    assert held == {
        ("port", str(session.port), session.id),
        ("display", str(session.display), session.id),
        ("address", session.address, session.id),
        ("uid", str(desktop.uid), "-"),
    }


def test_desktops_in_the_archive_tell_since_when_and_how_large(served, run):
    """Columns that are there only where something is archived."""
    desktop, session = start(served)
    run("session", "stop", session.id)
    assert "ARCHIVED" not in run("desktop", "ls")
    store = served.broker.store
    packed = {"size": 5 << 20, "unpacked": 9 << 20, "sha256": "0" * 64, "actor": "broker"}
    served.do(store.note_archived(desktop.id, **packed))
    header, row = rows(run("desktop", "ls"))
    assert header[-3:] == ["ARCHIVED", "AT", "SIZE"]
    at = served.broker.clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
    assert row[3] == "archived"
    assert " ".join(row[-4:]) == f"{at} 5.0 MB"
    (item,) = json.loads(run("desktop", "ls", "--json"))
    assert item["archive_size"] == 5 << 20


def test_a_desktop_is_removed_without_a_question(served, run):
    """Its home is kept; `--all` shows it still."""
    desktop, _ = start(served)
    assert rows(run("desktop", "ls"))[1][:4] == [desktop.id, "ada", "main", "ready"]
    assert run("desktop", "rm", desktop.id) == (
        f"Desktop {desktop.id} is removed; its home is kept.\n"
    )
    assert rows(run("desktop", "ls"))[1:] == []
    assert rows(run("desktop", "ls", "--all"))[1][:5] == [
        desktop.id,
        "ada",
        "main",
        "stopped",
        "yes",
    ]


@pytest.fixture
def at_a_terminal(monkeypatch):
    """Somebody sits there."""
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True), exit=sys.exit)
    monkeypatch.setattr(ctl_desktop, "sys", terminal)


@pytest.mark.usefixtures("at_a_terminal")
def test_a_home_is_deleted_after_two_questions(served, run):
    """Yes, and the id typed."""
    desktop, _ = start(served)
    told = run("desktop", "rm", desktop.id, "--with-home", input=f"y\n{desktop.id}\n")
    assert "Delete the home of ada's desktop main for good?" in told
    assert told.endswith(f"Desktop {desktop.id} is removed; its home is deleted.\n")
    assert served.world.engine.volumes == {}


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [("n\n", 1, "Aborted!"), ("y\nsomething\n", 2, "nothing was deleted"), ("y\n", 1, "Aborted!")],
)
def test_a_home_is_kept_at_any_other_answer(served, run, answers, code, said):
    """No, another id, or the end of the input."""
    desktop, _ = start(served)
    assert said in run("desktop", "rm", desktop.id, "--with-home", input=answers, code=code)
    assert len(served.world.engine.volumes) == 1
    assert rows(run("desktop", "ls"))[1][3] == "ready"


@pytest.mark.usefixtures("at_a_terminal")
def test_an_unknown_desktop_is_not_asked_about(served, refused):
    """There is nothing to delete."""
    assert refused("desktop", "rm", "nope", "--with-home") == (
        "There is no desktop 'nope'. (not_found)"
    )


def test_a_program_must_say_yes_beforehand(served, run, refused):
    """Where nobody can be asked, nothing is deleted."""
    desktop, _ = start(served)
    assert refused("desktop", "rm", desktop.id, "--with-home", code=2) == (
        "--with-home asks twice at a terminal; programs add --yes. (bad_request)"
    )
    assert len(served.world.engine.volumes) == 1
    run("desktop", "rm", desktop.id, "--with-home", "--yes")
    assert served.world.engine.volumes == {}


# ------------------------------------------------------------------------------------ refusals


def test_what_the_broker_refuses_is_its_sentence_and_code(served, run, refused):
    """Exit code 1."""
    run("user", "add", "ada", "--source", "local")
    assert refused("user", "add", "eve", "--source", "campus") == (
        "There is no source 'campus'; allowed are local. (bad_request)"
    )
    assert refused("user", "add", "ada") == "The name 'ada' is taken. (conflict)"
    assert refused("user", "rm", "bob", "--yes") == "There is no user 'bob'. (not_found)"
    for words in (["why"], ["stop"], ["kill"], ["extend", "4h"], ["freeze"]):
        command, *rest = words
        assert refused("session", command, "x", *rest) == "There is no such session. (not_found)"
    assert refused("desktop", "rm", "x") == "There is no desktop 'x'. (not_found)"
    assert "is reserved" in refused("user", "add", "root")


def test_an_engine_that_is_down_is_one_sentence(served, refused):
    """With the code to look up."""
    _, session = start(served)
    with outage(served.world):
        said = refused("session", "stop", session.id)
    assert said.endswith("(engine_unavailable)")


@pytest.mark.parametrize("name", ["../desktops", "..", "a/b", "a?b", "%2e%2e", "a\x1b[2Jb", "ä"])
def test_an_odd_name_is_only_unknown(served, refused, name):
    """It leads to no other route, and comes back harmless."""
    assert refused("user", "show", "--", name).endswith("(not_found)")


def test_hostile_text_is_printed_escaped(served, run):
    """A name that got past everything still cannot move a cursor."""
    desktop, _ = start(served)
    listed = served.broker.real_store.desktops

    async def hostile(**kwargs):
        return [replace(d, name="a\x1b[2J\nb\u202e") for d in await listed(**kwargs)]

    served.broker.real_store.desktops = hostile
    table = run("desktop", "ls")
    assert "a\\x1b[2J\\nb\\u202e" in table
    assert len(table.splitlines()) == 2
    assert "\\u001b" in run("--json", "desktop", "ls")
    assert desktop.id in table


def test_no_broker_is_one_sentence(refused, tmp_path):
    """Nothing there, or nobody listening."""
    wanted = (
        f"{tmp_path}/admin.sock: no broker answers there; is it running, and is this its"
        " socket (--socket or DESK_SOCKET)? (broker_unavailable)"
    )
    assert refused("user", "ls", code=3) == wanted
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "admin.sock"))
        assert refused("user", "ls", code=3) == wanted


def test_another_program_on_the_socket_is_no_broker(refused, tmp_path):
    """It answers, but not in our words."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "admin.sock"))
        sock.listen()

        def answer():
            caller, _ = sock.accept()
            with caller:
                caller.recv(65536)
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "no broker answers there" in refused("user", "ls", code=3)
        thread.join()


def test_who_may_not_use_the_socket_is_told_who_may(served, refused, tmp_path):
    """The kernel refuses the connection."""
    served.path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        said = refused("user", "ls")
    finally:
        if root:
            os.seteuid(0)
    assert said == (
        f"{served.path}: you may not use it; root, the broker's own user and"
        " the group desk-admin may. (access_denied)"
    )


@pytest.mark.parametrize(
    "args", [["user"], ["user", "add"], ["nothing"], ["user", "key", "add", "ada"], ["--what"]]
)
def test_wrong_usage_is_clicks_own_exit_code(run, args):
    """With the usage, and nothing is called."""
    said = run(*args, code=2)
    assert "Usage: " in said


def test_the_command_itself_runs(served, tmp_path):
    """As a process, with its socket from the environment: output, exit codes, no traceback."""

    def deskctl_process(*args, path=served.path):
        return subprocess.run(
            [sys.executable, "-m", "broker.cli.deskctl", *args],
            env={**os.environ, "DESK_SOCKET": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )

    good = deskctl_process("user", "ls")
    assert (good.returncode, good.stderr) == (0, "")
    bad = deskctl_process("user", "ls", path=tmp_path / "nowhere")
    assert (bad.returncode, bad.stdout) == (3, "")
    assert bad.stderr.count("\n") == 1
