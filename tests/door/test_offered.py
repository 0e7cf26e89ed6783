"""What is read of keys that come over the wire."""

from __future__ import annotations

import asyncssh
import pytest
from asyncssh.packet import MPInt, String

from broker.door import offered

RSA = 2**2047 + 1


def blob(kind: str, *parts: bytes) -> bytes:
    return String(kind) + b"".join(parts)


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_key_is_told_by_its_kind_and_fingerprint(kind):
    key = asyncssh.generate_private_key(kind)
    found, _ = offered.read(key.public_data)
    assert found.algorithm == kind
    assert found.fingerprint == key.get_fingerprint()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xff\xff\xff",
        blob("ssh-rsa", MPInt(65537), MPInt(-RSA)),
        blob("ssh-rsa", MPInt(-65537), MPInt(RSA)),
        blob("ssh-rsa", MPInt(0), MPInt(0)),
        blob("ssh-rsa", MPInt(65537)),
        blob("ssh-ed25519", String(b"short")),
        blob("ssh-ed25519", String(bytes(32)), String(b"more")),
        blob("ecdsa-sha2-nistp256", String(b"nistp256"), String(b"\x04" + bytes(64))),
        blob("ecdsa-sha2-nistp256", String(b"nistp521"), String(b"\x04" + bytes(64))),
        blob("ssh-rsa-cert-v01@openssh.com", String(b"nonce"), MPInt(65537), MPInt(-RSA)),
        blob("\x1b]0;", String(b"x")),
        bytes(9000),
    ],
)
def test_what_is_no_key_is_said_so_and_nothing_else(damaged):
    """Whatever the libraries below raise."""
    with pytest.raises(ValueError, match="damaged|too long"):
        offered.read(damaged)
