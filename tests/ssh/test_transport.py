"""Below the channels: ciphers, rekeys, keepalives, what is offered and what is hidden."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

from .clients import HOST, SPOKEN, Echo, Person, Relay, frozen, run, talk_tcp

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import DoorProcess


@pytest.mark.parametrize(
    "cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"]
)
def test_cipher_carries_both_ways(desk: Person, cipher: str) -> None:
    """Every cipher that is offered carries a stream back and forth."""
    data = os.urandom(4 << 20)
    assert desk.ssh("-c", cipher, "cat", stdin=data).out == data


@pytest.mark.parametrize("cipher", ["aes128-cbc", "3des-cbc", "chacha20-poly1305@openssh.com"])
def test_cipher_that_is_not_offered(desk: Person, cipher: str) -> None:
    """What the door does not offer ends before anybody is known."""
    done = desk.ssh("-o", "LogLevel=INFO", "-c", cipher, "true")
    assert done.status == 255
    assert b"no matching cipher" in done.err


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes128-ctr"])
def test_client_that_rekeys_often(desk: Person, cipher: str) -> None:
    """A new key every megabyte, in both directions at once, loses nothing."""
    data = os.urandom(8 << 20)
    done = desk.ssh("-c", cipher, "-o", "RekeyLimit=1M", "cat; exit 3", stdin=data)
    assert (done.status, done.out == data) == (3, True), done.err


_CHOSEN = re.compile(rb"kex: server->client cipher: (\S+) ")
_CTR_FIRST = ("-oLogLevel=DEBUG1", "-c", "aes256-ctr,aes256-gcm@openssh.com,aes128-gcm@openssh.com")


@pytest.mark.parametrize("direction", ["down", "up"])
def test_client_that_moves_much_by_a_slow_cipher_is_given_a_fast_one(
    desk: Person, lane: str, direction: str
) -> None:
    """OpenSSH before 10 puts CTR first: once, and by the megabyte, its order is not the last word."""
    size = 20 << 20
    data = os.urandom(size) if direction == "up" else b""
    command = "md5sum" if direction == "up" else f"yes | head -c {size}"
    done = desk.ssh(*_CTR_FIRST, command, stdin=data)
    expected = hashlib.md5(data).hexdigest().encode() + b"  -\n" if data else b"y\n" * (size // 2)
    assert (done.status, done.out == expected) == (0, True), done.err
    upgraded = [b"aes256-ctr", b"aes256-gcm@openssh.com"]
    assert _CHOSEN.findall(done.err) == (upgraded if lane == "fast" else upgraded[:1])


def test_client_that_moves_little_keeps_its_cipher(desk: Person) -> None:
    """A login and a screen full of text cost no second key exchange."""
    done = desk.ssh(*_CTR_FIRST, "head -c 100000 /dev/zero")
    assert _CHOSEN.findall(done.err) == [b"aes256-ctr"]


def test_client_without_a_fast_cipher_keeps_its_own(desk: Person) -> None:
    """However much it moves."""
    done = desk.ssh("-oLogLevel=DEBUG1", "-c", "aes256-ctr", "head -c 8000000 /dev/zero")
    assert (done.status, len(done.out)) == (0, 8_000_000)
    assert _CHOSEN.findall(done.err) == [b"aes256-ctr"]


def test_rekeys_at_the_door_and_inside(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """The door's own rekeys, towards the client and the desktop, lose nothing either."""
    person = new_person(own_door(outer_rekey=1 << 20, inner_rekey=1 << 20, rekeys_per_minute=1000))
    data = os.urandom(12 << 20)
    done = person.ssh("cat; exit 3", stdin=data)
    assert (done.status, done.out == data) == (3, True), done.err


def test_rekeys_on_every_hop_at_once(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """Client, door and desktop all rekey, and no two of them wait for each other."""
    person = new_person(own_door(outer_rekey=1 << 20, inner_rekey=1 << 20, rekeys_per_minute=1000))
    data = os.urandom(8 << 20)
    done = person.ssh("-o", "RekeyLimit=700K", "cat; exit 3", stdin=data)
    assert (done.status, done.out == data) == (3, True), done.err


def test_client_that_stands_still_between_rekeys(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """A client stopped in the middle of it all goes on where it was."""
    person = new_person(own_door(outer_rekey=1 << 20, inner_rekey=1 << 20, rekeys_per_minute=1000))
    process = person.start("head -c 12000000 /dev/zero; exit 3")
    assert process.stdout is not None
    heard = len(process.stdout.read(2_000_000))
    with frozen(process):
        assert run([*person.argv, "desk", "echo other"]).out == b"other\n"
    heard += len(process.stdout.read())
    assert (process.wait(10), heard) == (3, 12_000_000)


@pytest.mark.parametrize("hop", ["client", "desktop"])
def test_bytes_may_come_in_crumbs(desk: Person, hop: str) -> None:
    """Any cut of the stream into reads is the same stream."""
    target = desk.door.port if hop == "client" else desk.inner.port
    data = os.urandom(500_000)
    for seed in range(3):
        with Relay(target, chop=seed) as relay:
            if hop == "client":
                desk.write_config(relay.port)
            else:
                desk.plan(session=f"session-{desk.name}-{seed}", endpoints=[[HOST, relay.port]])
            done = desk.ssh("-o", "RekeyLimit=100K", "cat; exit 3", stdin=data)
            assert (done.status, done.out == data) == (3, True), done.err
            assert relay.accepted >= 1


def test_crumbs_of_forwards(desk: Person) -> None:
    """Many small channels over a chopped stream stay apart."""
    port = free_port()
    with Relay(desk.door.port, chop=7) as relay, Echo() as echo:
        desk.write_config(relay.port)
        with desk.forwarding("-L", f"{port}:{HOST}:{echo.port}", port=port):
            assert [talk_tcp(port) for _ in range(10)] == [SPOKEN] * 10


def test_client_s_keepalives_are_answered(desk: Person) -> None:
    """A client that asks whether we live is told so, with a desktop and without."""
    done = desk.ssh(
        "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2", "sleep 4; echo ok"
    )
    assert done.out == b"ok\n"


def test_door_s_keepalives_are_harmless(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> None:
    """The door asks both sides whether they live, and a silent session goes on."""
    person = new_person(own_door(outer_keepalive=0.7, inner_keepalive=0.7))
    done = person.ssh("sleep 3; echo ok; exit 3")
    assert (done.status, done.out) == (3, b"ok\n")


def test_container_s_host_keys_stay_hidden(desk: Person) -> None:
    """The client is told nothing of the keys behind the door."""
    done = desk.ssh("-vvv", "-o", "UpdateHostKeys=yes", "-o", "LogLevel=DEBUG3", "true")
    assert done.status == 0
    assert b"hostkeys-00" not in done.err
    assert desk.inner.host_key.split()[1].encode() not in done.err


def test_compression_is_not_agreed(desk: Person) -> None:
    """-C is answered with none, and the session works."""
    done = desk.ssh("-C", "-v", "-o", "LogLevel=DEBUG", "echo hi")
    assert done.out == b"hi\n"
    assert b"compression: none" in done.err
    assert b"compression: zlib" not in done.err


def test_version_line_names_no_library(desk: Person) -> None:
    """The door names itself and not what it is made of."""
    done = desk.ssh("-v", "-o", "LogLevel=DEBUG", "true")
    found = re.search(rb"Remote protocol version 2.0, remote software version (\S+)", done.err)
    assert found is not None
    assert b"ssh" not in found[1].lower()
