"""Who is let in, and as whom: the key that signed decides, and nothing before it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import asyncssh
import pytest
from asyncssh.public_key import SSHLocalKeyPair

from .clients import Person, run, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import DoorProcess


BEFORE_AUTHENTICATION = True


@pytest.fixture
def alice(desk: Person) -> Person:
    return desk


@pytest.fixture
def bob(door: DoorProcess, new_person: Callable[..., Person]) -> Person:
    return new_person(door)


def _as(login: str) -> tuple[str, ...]:
    return "-l", login


def test_shared_login_takes_the_key_s_owner(alice: Person) -> None:
    """`desk` is whoever the key proves."""
    assert alice.ssh(*_as("desk"), "true").status == 0
    assert [call["desktop"] for call in alice.calls("route")] == [None]


def test_own_name_is_a_login(alice: Person) -> None:
    """The owner's name works with the owner's key."""
    assert alice.ssh(*_as(alice.name), "true").status == 0
    assert len(alice.calls("route")) == 1


def test_another_s_name_is_refused(alice: Person, bob: Person) -> None:
    """Alice's key is nothing under bob's name."""
    done = alice.ssh(*_as(bob.name), "true")
    assert done.status == 255
    assert b"Permission denied (publickey,keyboard-interactive,password)" in done.err
    assert alice.calls() == bob.calls() == []


def test_desktop_is_named_behind_a_plus(alice: Person) -> None:
    """`desk+work` and `alice+work` ask for the desktop `work`."""
    assert alice.ssh(*_as("desk+work"), "true").status == 0
    assert alice.ssh(*_as(f"{alice.name}+work"), "true").status == 0
    assert [call["desktop"] for call in alice.calls("route")] == ["work", "work"]


@pytest.mark.parametrize(
    "login",
    [
        "root",
        "admin",
        "invite+abc",
        "desk+",
        "+work",
        "desk+a+b",
        "desk+../x",
        "DESK",
        "a" * 300,
        "x y",
    ],
)
def test_login_that_can_be_nobody_s(alice: Person, login: str) -> None:
    """Reserved and malformed logins are refused as unknown ones are."""
    done = alice.ssh(*_as(login), "true")
    assert done.status == 255
    assert b"Permission denied (publickey,keyboard-interactive,password)" in done.err
    assert alice.calls() == []


def test_refusals_are_alike(alice: Person) -> None:
    """Wrong key, unknown user and unknown login cannot be told apart."""
    stranger = alice.folder / "stranger"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)])
    seen = set()
    for login in ("desk", alice.name, "nobody-here", "root", "invite+abc"):
        options = ["-o", "LogLevel=DEBUG", "-v", "-o", f"IdentityFile={stranger}", "-l", login]
        argv = ["ssh", "-F", str(_without_identity(alice)), *options, "desk", "true"]
        done = run(argv)
        assert done.status == 255
        story = re.findall(
            rb"(Authentications that can continue.*|.*Permission denied.*|Offering.*|Server accepts.*)",
            done.err,
        )
        assert not any(b"Server accepts" in line for line in story)
        seen.add(b"\n".join(story).replace(login.encode() + b"@", b"LOGIN@"))
    assert len(seen) == 1, seen


def _without_identity(person: Person) -> str:
    config = person.folder / "plain"
    lines = person.config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if "IdentityFile" not in line) + "\n")
    return str(config)


def test_probe_binds_nothing(alice: Person, bob: Person) -> None:
    """A client that shows alice's public key and signs with bob's is bob."""
    shown = alice.folder / "shown"
    (alice.folder / "shown.pub").write_bytes(alice.keys[0].export_public_key())
    for first, second in ((shown, bob.key_file), (bob.key_file, shown)):
        done = run(
            [
                "ssh",
                "-v",
                "-F",
                _without_identity(alice),
                "-o",
                "LogLevel=DEBUG",
                "-o",
                f"IdentityFile={first}",
                "-o",
                f"IdentityFile={second}",
                "desk",
                "true",
            ]
        )
        assert done.status == 0, done.err
        if first is shown:
            accepted = re.findall(rb"Server accepts key: (\S+)", done.err)
            assert str(shown).encode() in accepted, "the attack did not take place"
    assert alice.calls() == []
    assert len(bob.calls("route")) == 2


async def test_signature_of_another_key(alice: Person, bob: Person) -> None:
    """Alice's public key under bob's signature is nobody."""
    forged = SSHLocalKeyPair(bob.keys[0], None, None, None)
    forged.public_data = alice.keys[0].public_data
    with pytest.raises(asyncssh.PermissionDenied):
        async with alice.asyncssh(client_keys=[forged]):
            pass
    assert alice.calls() == bob.calls() == []


def test_every_key_of_a_person_works(door: DoorProcess, new_person: Callable[..., Person]) -> None:
    """A person with two keys may use either, and the gateway learns which."""
    person = new_person(door, keys=2)
    assert person.ssh("true").status == 0
    person.key_file.write_bytes(person.keys[1].export_private_key())
    (person.folder / "id.pub").unlink()
    assert person.ssh("true").status == 0
    used = [call["credential"] for call in person.calls("route")]
    assert used == [key.get_fingerprint() for key in person.keys]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_kinds_of_keys(
    door: DoorProcess, new_person: Callable[..., Person], kind: str
) -> None:
    """RSA and ECDSA keys prove a person too."""
    person = new_person(door)
    key = asyncssh.generate_private_key("ssh-rsa" if kind == "rsa" else "ecdsa-sha2-nistp256")
    door.do("add", user=person.name, fingerprints=[key.get_fingerprint()])
    (person.folder / "id.pub").unlink()
    person.key_file.write_bytes(key.export_private_key())
    done = person.ssh("echo in")
    assert done.out == b"in\n", done.err


def test_right_key_behind_wrong_ones(alice: Person) -> None:
    """A client with three foreign keys in front gets in."""
    options = []
    for number in range(3):
        path = alice.folder / f"wrong{number}"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)])
        options += ["-o", f"IdentityFile={path}"]
    assert alice.ssh(*options, "true").status == 0


def test_too_many_wrong_keys(alice: Person) -> None:
    """Six failures end the connection, with the words that clients know."""
    options = []
    for number in range(7):
        path = alice.folder / f"wrong{number}"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)])
        options += ["-o", f"IdentityFile={path}"]
    done = run(["ssh", "-F", _without_identity(alice), *options, "desk", "true"])
    assert done.status == 255
    assert b"Too many authentication failures" in done.err


@pytest.mark.parametrize("login", ["desk", "nobody", "root", "invite+" + "x" * 32])
def test_everybody_is_offered_the_same(alice: Person, login: str) -> None:
    """Whatever their name: nobody learns from it who has an account."""
    asked = ("-v", "-o", "LogLevel=DEBUG", "-o", "PreferredAuthentications=none")
    done = alice.ssh(*_as(login), *asked, "true")
    assert done.status == 255
    offered = b"publickey,keyboard-interactive,password\r\n"
    assert b"Authentications that can continue: " + offered in done.err


def test_authentication_alone_starts_nothing(alice: Person) -> None:
    """A login that asks for nothing reaches the gateway's identity and no more."""
    done = alice.ssh("-o", "ControlMaster=no", "-O", "check", "-S", "none", "true")
    assert done.status != 0
    assert alice.calls() == []


def test_attachments_come_and_go(alice: Person) -> None:
    """The gateway hears once of each client that is in a session, and once of its end."""
    for _ in range(3):
        assert alice.ssh("true").status == 0
    until(lambda: len(alice.calls("detached")) == 3, 10, "the ends are told")
    came, left = alice.calls("attached"), alice.calls("detached")
    assert sorted(call["id"] for call in came) == sorted(call["id"] for call in left)
    assert len({call["id"] for call in came}) == 3
    for call in came:
        assert call["session"] == f"session-{alice.name}-main"
        assert call["peer"].startswith("127.0.0.1:")
        assert "OpenSSH" in call["client"]
