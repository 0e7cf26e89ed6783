"""A public key or certificate as it comes over the wire, before anybody knows whose it is."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

from asyncssh.public_key import decode_ssh_public_key

from broker.core.certificates import key_within, signature_algorithm
from broker.core.gateway import OfferedKey
from broker.core.publickeys import PublicKey

if TYPE_CHECKING:
    from asyncssh import SSHKey

#: Bytes of a blob that is read at all: certificates with all that a small authority puts in have
#: one or two thousand.
_LONGEST = 8192

_PRESENT, _VERIFIED = 0x01, 0x04
_COUNTER = 4


def read(blob: bytes) -> tuple[OfferedKey, SSHKey]:
    """What is offered, and the key by which its owner signs. Raises `ValueError` for what is
    neither a key nor a certificate of a kind that is known.
    """
    if len(blob) > _LONGEST:
        raise ValueError("too long")
    certificate = signature_algorithm(algorithm(blob)) is not None
    try:
        plain = key_within(blob) if certificate else PublicKey(algorithm(blob), blob)
        key = decode_ssh_public_key(plain.blob)
    except (ValueError, OverflowError) as error:  # the latter for negative numbers
        raise ValueError("damaged") from error
    offered = OfferedKey(
        algorithm=plain.type,
        fingerprint=plain.fingerprint,
        public=plain.public,
        certificate=base64.b64encode(blob).decode() if certificate else None,
    )
    return offered, key


def signed(offered: OfferedKey, signature: bytes) -> OfferedKey:
    """The same with what a device said when it signed; others say nothing."""
    if not offered.algorithm.startswith("sk-"):
        return offered
    flags = signature[-_COUNTER - 1]
    return replace(
        offered, user_present=bool(flags & _PRESENT), user_verified=bool(flags & _VERIFIED)
    )


def algorithm(blob: bytes) -> str:
    """The name that a key, a certificate or a signature begins with."""
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size].decode("ascii", "replace")
