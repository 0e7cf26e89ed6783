"""Revoking ends what was opened before, and nothing else."""

import base64
import hashlib

import pytest

from broker.core.certificates import read_certificate
from broker.core.issued import Issued
from broker.service import standing
from broker.service.revocations import Revocations
from broker.service.standing import Standing
from tests import sshkeys


class Connections:
    """Notes what was ended."""

    def __init__(self):
        self.ended = []

    def end_credential(self, credential, sentence):
        assert sentence == "The key or certificate that you signed in with was revoked."
        self.ended.append(credential)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    """Of two certificates by serial."""
    folder = tmp_path_factory.mktemp("certificates")
    sshkeys.made(folder, "ca")
    sshkeys.made(folder, "key")
    return {
        serial: str(
            Issued.of(
                read_certificate(
                    base64.b64decode(sshkeys.certified(folder / "ca", folder / "key", "-z", serial))
                )
            )
        )
        for serial in (7, 8)
    }


@pytest.fixture
def path(tmp_path):
    """The list; empty."""
    path = tmp_path / "revoked"
    path.write_text("")
    return path


@pytest.fixture
def connections():
    return Connections()


@pytest.fixture
async def watched(path, connections):
    """A list that was looked at once."""
    watched = Standing(revocations=Revocations(path), connections=connections)
    await watched.look()
    return watched


KEY = f"SHA256:{base64.b64encode(hashlib.sha256(b'key').digest()).decode().rstrip('=')}"


async def test_what_is_revoked_ends_at_the_next_look(watched, path, connections, credentials):
    """Once, and others go on."""
    for credential in (*credentials.values(), KEY, "password:0123"):
        watched.note(credential)
    await watched.look()
    assert connections.ended == []
    path.write_text("serial: 7\n")
    await watched.look()
    await watched.look()
    assert connections.ended == [credentials[7]]
    path.write_text(f"serial: 7\n{KEY}\n")
    await watched.look()
    assert connections.ended == [credentials[7], KEY]


async def test_a_list_that_cannot_be_used_ends_nothing(watched, path, connections, credentials):
    """It may be half written; the whole one does."""
    watched.note(credentials[7])
    path.write_text("serial: 7\nserial: ")
    await watched.look()
    path.unlink()
    await watched.look()
    assert connections.ended == []
    path.write_text("serial: 7\n")
    await watched.look()
    assert connections.ended == [credentials[7]]


async def test_who_came_in_while_the_list_changed_is_met_too(
    watched, path, connections, credentials
):
    """Judged by the list before, and told of after the look at the new one."""
    path.write_text("serial: 7\n")
    await watched.look()
    watched.note(credentials[7])
    watched.note(credentials[8])
    assert connections.ended == [credentials[7]]


async def test_what_is_remembered_is_bounded(watched, path, connections, credentials, monkeypatch):
    """Who was heard of last is kept."""
    monkeypatch.setattr(standing, "_MOST", 2)
    for credential in (credentials[7], credentials[8], credentials[7], KEY):
        watched.note(credential)
    path.write_text(f"serial: 7-8\n{KEY}\n")
    await watched.look()
    assert connections.ended == [credentials[7], KEY]


async def test_without_a_list_nothing_ends(connections, credentials):
    """However often it is looked for."""
    watched = Standing(revocations=Revocations(None), connections=connections)
    watched.note(credentials[7])
    await watched.look()
    assert connections.ended == []
