"""Certificates of the real ssh-keygen, offered by the real ssh to a real door before the real broker."""

import asyncio
import shutil
import subprocess
from types import SimpleNamespace

import asyncssh
import pytest

from broker.core.publickeys import authority
from broker.door.app import Door
from broker.door.limits import Limits
from broker.service.connections import Doors
from tests import sshkeys
from tests.scratch import new_directory
from tests.service.harness import World
from tests.ssh.clients import HOST

VALID = ("-V", "20200101Z:20400101Z")

#: A word of the broker's: whoever gets an answer is in, and nothing was started for it.
WORD = "desk list"
IN = "You have no desktop yet"


@pytest.fixture
async def site():
    """Ada and bob, an authority that is trusted for everybody, and a door."""
    folder = new_directory()
    for name, kind in (
        ("ca", "ed25519"),
        ("stranger", "ed25519"),
        ("id_ed25519", "ed25519"),
        ("id_ecdsa", "ecdsa-256"),
        ("id_rsa", "rsa-2048"),
    ):
        sshkeys.made(folder, name, kind)
    (folder / "revoked").write_text("")
    world = await World.create(new_directory())
    doors = Doors()
    login = {
        "authorities": [authority(sshkeys.public(folder / "ca"))],
        "revoked": str(folder / "revoked"),
    }
    broker = await world.broker(login=login, connections=doors)
    for name in ("ada", "bob"):
        await broker.user(name)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    door = Door(broker.gateway, host_key, limits=Limits(report_every=60.0))
    await door.start()
    doors.join(door.id, door)
    known = host_key.export_public_key().decode().strip()
    (folder / "known_hosts").write_text(f"[{HOST}]:{door.port} {known}\n")
    yield SimpleNamespace(broker=broker, door=door, folder=folder)
    await door.close(0.5)
    await world.close()
    shutil.rmtree(folder)
    shutil.rmtree(world.directory)


def ssh(site, login, key, *arguments) -> list[str]:
    """The command; the certificate is beside the key, where ssh looks for it."""
    options = {
        "UserKnownHostsFile": site.folder / "known_hosts",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "IdentityFile": site.folder / key,
    }
    told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-p", str(site.door.port), "-l", login, *told, *arguments]


async def comes_in(site, login="desk", key="id_ed25519") -> bool:
    process = await asyncio.create_subprocess_exec(
        *ssh(site, login, key, HOST, WORD),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    entered = IN in said.decode()
    assert entered or "Permission denied" in said.decode()
    return entered


def certify(site, *arguments, ca="ca", key="id_ed25519"):
    sshkeys.certified(site.folder / ca, site.folder / key, *VALID, *arguments)


@pytest.mark.parametrize("key", ["id_ed25519", "id_ecdsa", "id_rsa"])
async def test_a_certificate_lets_in_whom_it_names(site, key):
    """By the shared name and by the user's own; of each kind of key."""
    assert not await comes_in(site, key=key)
    certify(site, key=key)
    assert await comes_in(site, key=key)
    assert await comes_in(site, "ada", key=key)
    assert not await comes_in(site, "bob", key=key)


@pytest.mark.parametrize(
    ("arguments", "ca"),
    [
        ((), "stranger"),
        (("-n", "nobody"), "ca"),
        (("-n", "ada,bob"), "ca"),
        (("-O", "source-address=192.0.2.0/24"), "ca"),
        (("-O", "force-command=date"), "ca"),
        (("-V", "20200101Z:20210101Z"), "ca"),
        (("-h",), "ca"),
    ],
)
async def test_one_that_is_no_good_lets_nobody_in(site, arguments, ca):
    """Each for its own reason, and none is told to the client."""
    certify(site, *arguments, ca=ca)
    assert not await comes_in(site)


async def test_a_certificate_counts_by_the_signature_of_its_key(site):
    """Whoever has another's certificate, and not the key, is nobody."""
    certify(site)
    shutil.copy(site.folder / "id_ed25519-cert.pub", site.folder / "stolen-cert.pub")
    thief = [
        *ssh(site, "desk", "stranger", "-o", f"CertificateFile={site.folder / 'stolen-cert.pub'}"),
        HOST,
        WORD,
    ]
    process = await asyncio.create_subprocess_exec(
        *thief, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    assert b"Permission denied" in said


async def test_revoking_ends_the_connection_that_stands(site):
    """At the next look at the list; another's goes on."""
    certify(site, "-z", "7")
    certify(site, "-z", "8", "-n", "bob", key="id_ecdsa")
    standing = []
    for login, key in (("ada", "id_ed25519"), ("bob", "id_ecdsa")):
        process = await asyncio.create_subprocess_exec(
            *ssh(site, login, key, "-N", HOST),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        standing.append(process)
    try:
        await asyncio.wait_for(_noted(site, 2), 30)
        (site.folder / "revoked").write_text("serial: 7\n")
        await site.broker.revoking.once()
        _, said = await asyncio.wait_for(standing[0].communicate(), 5)
        assert b"was revoked" in said
        assert standing[1].returncode is None
        assert not await comes_in(site)
    finally:
        for process in standing:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _noted(site, count):
    while len(site.broker.standing._credentials) < count:
        await asyncio.sleep(0.02)
