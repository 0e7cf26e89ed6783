"""Who people are, on a whole Desk: what is taken back ends at once, what is secret is nowhere, and
what was done stays told.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyotp
import pytest

from tests.e2e.desk import HOST, until
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

#: Seconds within which what is taken back has ended.
ENDS = 5.0

TAKEN = "desk: Your account, password or key was taken away."

ASKPASS = (
    '#!/bin/sh\ncase "$1" in *assword*) echo "$ANSWER_PASSWORD" ;; *) echo "$ANSWER_CODE" ;; esac\n'
)


@pytest.fixture
def askpass(tmp_path):
    """What answers `ssh` instead of a person."""
    program = tmp_path / "askpass"
    program.write_text(ASKPASS)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def done(desk, *words, stdin="") -> str:
    """What `deskctl` prints."""
    ended = desk.deskctl(*words, stdin=stdin)
    assert ended.returncode == 0, ended
    return ended.stdout


# ------------------------------------------------------------------------------------- revocation


@dataclass
class Open:
    """A shell and a forward of somebody, with what both were told."""

    clients: list[subprocess.Popen]
    told: list[Path]
    port: int

    def alive(self) -> list[bool]:
        return [client.poll() is None for client in self.clients]

    def passes(self) -> bool:
        """Whether the forward does: the desktop's sshd greets."""
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 5) as far:
            return far.recv(4) == b"SSH-"
        return False

    def close(self) -> None:
        for client in self.clients:
            client.kill()
            client.communicate()


@contextlib.contextmanager
def opened(desk, person, number, *options, **environment):
    """A shell at a terminal, and a connection for a forward alone."""
    port = free_port()
    ways = [["-tt"], ["-N", "-L", f"{port}:127.0.0.1:2222"]]
    told = [desk.home / f"told{number}.{way}" for way in range(len(ways))]
    clients = []
    for way, file in zip(ways, told, strict=True):
        with file.open("wb") as out:
            command = desk.ssh_command(person, *options, *way)
            env = {**desk.env, **environment}
            clients.append(
                subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=out, stderr=out)
            )
    made = Open(clients, told, port)
    clients[0].stdin.write(b"echo in-$((40 + 2))\n")
    clients[0].stdin.flush()
    try:
        until(lambda: b"in-42" in told[0].read_bytes(), within=90, what="the shell")
        until(made.passes, within=30, what="the forward")
        assert made.alive() == [True, True]
        yield made
    finally:
        made.close()


def test_what_is_taken_back_ends_what_it_opened(new_desk, askpass):
    """Within seconds, with a sentence, and what came otherwise goes on."""
    desk = new_desk()
    desk.start()
    ada = desk.person("ada")
    desk.ok(ada, "true")
    second = desk.home / "second.key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", second], check=True)
    by_key = ["-o", f"IdentityFile={second}", "-F", str(other_config(desk, second))]
    by_password = ["-o", "PubkeyAuthentication=no", "-o", "User=ada"]
    took: dict[str, float] = {}

    def ends(name, *words, by, stdin="", survivor=None, **environment):
        with opened(desk, ada, len(took), *by, **environment) as open_:
            began = time.monotonic()
            done(desk, *words, stdin=stdin)
            acted = time.monotonic()
            until(lambda: open_.alive() == [False, False], within=ENDS + 10, what=name)
            took[name] = time.monotonic() - began
            took[f"{name}, after deskctl"] = time.monotonic() - acted
            for file in open_.told:
                assert TAKEN in file.read_text(errors="replace"), (name, file.read_text())
            assert not open_.passes()
            assert survivor is None or survivor.alive() == [True, True], name

    with opened(desk, ada, "first") as first:
        done(desk, "user", "key", "add", "ada", "--key", f"{second}.pub")
        name = desk.listing("users/ada/keys")[-1]["name"]
        ends("a key removed", "user", "key", "rm", "ada", name, by=by_key, survivor=first)
        for case, words, stdin in (
            ("a password changed", ("set", "ada"), "another one 0002\n"),
            ("a password removed", ("rm", "ada"), ""),
        ):
            done(desk, "user", "password", "set", "ada", stdin="the first one 0001\n")
            given = {"ANSWER_PASSWORD": "the first one 0001", **askpass}
            ends(
                case,
                "user",
                "password",
                *words,
                by=by_password,
                stdin=stdin,
                survivor=first,
                **given,
            )
        assert first.passes()
    ends("the user disabled", "user", "disable", "ada", by=[])
    refused = desk.ssh(ada, "true")
    assert refused.returncode == 255
    done(desk, "user", "enable", "ada")
    ends("the user removed", "user", "rm", "--yes", "ada", by=[])
    bob = desk.person("bob")
    assert max(seconds for case, seconds in took.items() if "after" in case) < ENDS, took

    invited = done(desk, "user", "invite", "bob")
    token = re.search(r"invite\+[\w-]+", invited)[0]
    done(desk, "invite", "rm", desk.listing("invites")[0]["id"])
    late = desk.ssh(bob, "true", "-oBatchMode=yes", "-oLogLevel=INFO", f"-oUser={token}")
    assert late.returncode == 255
    assert b"This invite is unknown, used or expired" in late.stderr, late


def other_config(desk, key) -> Path:
    """A client's configuration with that key alone."""
    config = desk.home / "second.ssh_config"
    text = desk.people["ada"].config.read_text()
    config.write_text(re.sub(r"IdentityFile .*", f"IdentityFile {key}", text))
    return config


# ----------------------------------------------------------------------------------------- secrets


@contextlib.contextmanager
def webhook():
    """A service that knows nobody; yields its port, and the names that it was asked about."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers["Content-Length"])
            asked.append(json.loads(self.rfile.read(size))["user"])
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"ok": false}')

        def log_message(self, *_):
            """Nobody reads it."""

    with ThreadingHTTPServer((HOST, 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


def family(pid) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [one for child in (task / "children").read_text().split() for one in family(child)]
    return found


def seen_by_others(desk) -> dict[str, str]:
    """All that is told of Desk without its state's files."""
    places = {"the log": desk.log.read_text()}
    for pid in family(desk.process.pid):
        for what in ("cmdline", "environ"):
            places[f"{what} of {pid}"] = Path(f"/proc/{pid}/{what}").read_text(errors="replace")
    for container in desk.containers().values():
        places[f"inspection of {container.name}"] = json.dumps(container.attrs)
        places[f"log of {container.name}"] = container.logs().decode(errors="replace")
    for path in (
        *("users", "groups", "invites", "login-blocks", "sessions", "desktops", "leases"),
        *("attachments", "audit", "users/ada/keys"),
    ):
        places[f"the API's {path}"] = json.dumps(desk.api("GET", f"/{path}"))
    for words in (("audit", "export"), ("user", "ls"), ("user", "policy", "ada"), ("invite", "ls")):
        places[" ".join(words)] = done(desk, *words)
    return places


def test_no_secret_is_where_others_look(new_desk, tmp_path, askpass):
    """Logs, processes, containers, the API beyond the one answer that shows it, the audit, errors."""
    secrets = {"a bind password": "seeded-bind-0001", "a webhook's": "seeded-hook-0002"}
    files = {}
    for name, secret in secrets.items():
        files[name] = tmp_path / name.replace(" ", "-")
        files[name].write_text(f"{secret}\n")
        files[name].chmod(0o600)
    with webhook() as (port, asked):
        sources = [
            {
                "kind": "webhook",
                "name": "hook",
                "url": f"http://{HOST}:{port}/",
                "secret": str(files["a webhook's"]),
            },
            {
                "kind": "ldap",
                "name": "campus",
                "url": f"ldap://{HOST}:{free_port()}",
                "search_base": "dc=example",
                "search_dn": "cn=desk,dc=example",
                "search_password": str(files["a bind password"]),
            },
        ]
        desk = new_desk(login={"sources": sources})
        desk.start()
        ada = desk.person("ada")
        told = _use(desk, ada, secrets, askpass)
        assert "nobody" in asked
        places = seen_by_others(desk)
        places["what a desktop sees"] = desk.ok(ada, "env; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        places |= {f"error {number}": text for number, text in enumerate(told)}
    assert len(places) > 25
    assert sum(name.startswith("environ") for name in places) >= 3, "doors and broker"
    found = {
        (secret, place)
        for place, text in places.items()
        for secret, value in secrets.items()
        if value in text
    }
    assert not found
    for file in ("desk.db", "audit.key", "ssh_host_key"):
        assert not (desk.state / file).stat().st_mode & 0o077, file


def _use(desk, ada, secrets, askpass) -> list[str]:
    """Give each secret, and show each once; returns what was said to wrong ones."""
    desk.ok(ada, "true")
    for key in [*(desk.state / "sessions").glob("*/*key*"), desk.state / "ssh_host_key"]:
        lines = key.read_text().splitlines()
        if "PRIVATE" in lines[0]:
            secrets[f"a line of {key.name}"] = lines[len(lines) // 2]
    secrets["the audit's key"] = (desk.state / "audit.key").read_text().strip()
    secrets |= {"a password": "seeded-pass-0003", "a mistyped one": "seeded-wrong-0004"}
    done(desk, "user", "password", "set", "ada", stdin=f"{secrets['a password']}\n")
    desk.person("bob")
    for number in range(2):
        invited = done(desk, "user", "invite", "bob")
        secrets[f"invite {number}"] = re.search(r"invite\+([\w-]+)", invited)[1]
    bound = desk.ssh(desk.people["bob"], "desk list", f"-oUser=invite+{secrets['invite 0']}")
    assert bound.returncode == 0, bound
    begun = json.loads(desk.ok(ada, "desk code enrol --json"))
    secrets |= {"a codes' secret": begun["secret"], "its URI": begun["uri"]}
    code = pyotp.TOTP(begun["secret"]).now()
    made = json.loads(desk.ok(ada, f"desk code confirm {code} --json"))
    secrets |= {f"recovery code {n}": text for n, text in enumerate(made["recovery"])}
    told = []
    for name, password, answer in (
        ("ada", secrets["a password"], secrets["recovery code 0"]),
        ("ada", secrets["a password"], secrets["recovery code 0"]),
        ("ada", secrets["a mistyped one"], ""),
        ("nobody", secrets["a mistyped one"], ""),
    ):
        options = ["-oPubkeyAuthentication=no", f"-oUser={name}", "-oNumberOfPasswordPrompts=1"]
        given = {"ANSWER_PASSWORD": password, "ANSWER_CODE": answer, **askpass}
        ended = desk.ssh(ada, "desk whoami", *options, "-oLogLevel=INFO", **given)
        told.append((ended.stdout + ended.stderr).decode())
    assert "password+code" in told[0]
    assert "source_unavailable" in told[-1], "the directory is away"
    secrets["a made password"] = json.loads(desk.ok(ada, "desk password new --json"))["password"]
    for words in (("user", "password", "set", "ada"), ("user", "password", "set", "noone")):
        refused = desk.deskctl(*words, stdin="too-short"[:7] + "\n")
        assert refused.returncode != 0
        told.append(refused.stdout + refused.stderr)
    return told


# --------------------------------------------------------------------------------------- the audit


def test_an_audit_that_somebody_changed_is_told_by_its_row(new_desk):
    """As root could: without the triggers, on the file itself."""
    desk = new_desk()
    desk.start()
    for name in ("ada", "bob", "eve"):
        desk.person(name)
    desk.deskctl("user", "disable", "bob")
    assert "entries are as they were written" in done(desk, "audit", "verify")
    desk.stop()
    kept = desk.home / "kept.db"
    file = desk.state / "desk.db"
    with closing(sqlite3.connect(file)) as state:
        state.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (last,) = state.execute("SELECT max(seq) FROM audit").fetchone()
    shutil.copy(file, kept)
    again = "at, actor, action, subject, detail, hash"
    cut = f"DELETE FROM audit WHERE seq > {last - 2}"
    ada = "(SELECT min(seq) FROM audit WHERE detail LIKE '%ada%')"
    newest = f"(SELECT seq, hash FROM audit WHERE seq = {last - 2})"
    aside = "UPDATE audit SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4)"
    changes = {
        "edited": ("UPDATE audit SET actor = 'uid:1' WHERE seq = 3", 3),
        "edited within": (f"UPDATE audit SET detail = '{{}}' WHERE seq = {ada}", None),
        "dropped": ("DELETE FROM audit WHERE seq = 3", 3),
        "swapped": (f"{aside}; UPDATE audit SET seq = -seq WHERE seq < 0", 3),
        "inserted": (
            f"INSERT INTO audit (seq, {again}) SELECT {last + 1}, {again} FROM audit WHERE seq = 2",
            last + 1,
        ),
        "cut": (cut, last - 1),
        "cut, and its note": (f"{cut}; UPDATE audit_head SET (seq, hash) = {newest}", last - 1),
    }
    told = {}
    for name, (change, _) in changes.items():
        for suffix in ("", "-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        shutil.copy(kept, file)
        with closing(sqlite3.connect(file)) as state:
            state.executescript("DROP TRIGGER audit_update; DROP TRIGGER audit_delete;" + change)
        desk.start()
        verified = desk.deskctl("audit", "verify")
        told[name] = (verified.returncode, verified.stdout + verified.stderr)
        desk.stop()
    for name, (_, row) in changes.items():
        status, text = told[name]
        assert status == 1, (name, text)
        assert row is None or re.search(rf"\b{row}\b", text), (name, row, text)
