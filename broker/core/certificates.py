"""Certificates of users, as OpenSSH's PROTOCOL.certkeys defines them: what one says, and whether
it counts for somebody. Whether its authority is trusted, has signed it, and has not revoked it, is
asked elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from broker.core.gateway import Allowance
from broker.core.model import shown
from broker.core.publickeys import KEY_TYPES, PublicKey, read_fields, read_key
from broker.core.sources import network, within
from broker.core.sshdata import Damaged, Reader, string

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUFFIX = "-cert-v01@openssh.com"

#: Kinds of certificates, and the kind of key in each.
_PLAIN = {kind.removesuffix("@openssh.com") + _SUFFIX: kind for kind in KEY_TYPES}

#: Signatures by an authority with an RSA key: those with SHA-1 are too weak.
_RSA_SIGNATURES = frozenset({"rsa-sha2-256", "rsa-sha2-512"})

#: Bytes of a certificate with the longest keys, and names in it, as OpenSSH bounds them.
LONGEST = 16_384
_MOST_PRINCIPALS = 256

_USER = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: What is allowed to whom the certificate says so, and denied to others.
_PERMITS = {
    "permit-port-forwarding": (Allowance.FORWARD_LOCAL, Allowance.FORWARD_REMOTE),
    "permit-agent-forwarding": (Allowance.AGENT,),
    "permit-X11-forwarding": (Allowance.X11,),
    "permit-pty": (Allowance.PTY,),
}

_VERIFY_REQUIRED = "verify-required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says; nothing of it is proven."""

    key: PublicKey
    """The plain key, whose owner signs with it."""
    authority: PublicKey
    serial: int
    kind: int
    """1 for a user's, 2 for a host's."""
    key_id: bytes
    """The authority's name for it."""
    principals: tuple[str, ...]
    valid_after: int
    """Seconds since 1970, the first one that counts."""
    valid_before: int
    """The first one that counts no more; 2**64 - 1 for never."""
    critical: Mapping[str, bytes]
    """Restrictions, each with its data."""
    extensions: Mapping[str, bytes]
    signed: bytes = field(repr=False)
    """What the authority's signature is over."""
    signature: bytes = field(repr=False)

    @property
    def denied(self) -> frozenset[Allowance]:
        """What it does not permit."""
        return frozenset(
            allowance
            for permit, allowances in _PERMITS.items()
            if permit not in self.extensions
            for allowance in allowances
        )

    @property
    def verify_required(self) -> bool:
        """Whether the security key must have asked for a PIN or a finger."""
        return _VERIFY_REQUIRED in self.critical


def read_certificate(blob: bytes) -> Certificate:
    """The certificate of a blob, with sound keys and a signature by an algorithm that is allowed.
    Raises `Damaged` with what is wrong.
    """
    if len(blob) > LONGEST:
        raise Damaged("the certificate is too long")
    reader = Reader(blob, "the certificate")
    key = _key(reader)
    serial, kind = reader.uint64(), reader.uint32()
    key_id = reader.string()
    principals = _principals(reader.string())
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical, extensions = _options(reader.string()), _options(reader.string())
    reader.string()  # reserved
    authority = read_key(reader.string())
    signed = reader.since(0)
    signature = reader.string()
    reader.end()
    _check_algorithm(authority, signature)
    return Certificate(
        key=key,
        authority=authority,
        serial=serial,
        kind=kind,
        key_id=key_id,
        principals=principals,
        valid_after=valid_after,
        valid_before=valid_before,
        critical=critical,
        extensions=extensions,
        signed=signed,
        signature=signature,
    )


def key_within(blob: bytes) -> PublicKey:
    """The plain key of a certificate. Raises `Damaged`."""
    return read_certificate(blob).key


def signature_algorithm(wire: str) -> str | None:
    """The algorithm of the signature that goes with a certificate, by the algorithm that a client
    names: `rsa-sha2-512` for `rsa-sha2-512-cert-v01@openssh.com`; None for one of no certificate.
    """
    if wire.endswith(_SUFFIX) and wire.removesuffix(_SUFFIX) in _RSA_SIGNATURES:
        return wire.removesuffix(_SUFFIX)
    return _PLAIN.get(wire)


def objection(certificate: Certificate, *, user: str, address: str, now: datetime) -> str | None:
    """Why it does not let that user in from that address now, for the operator; None when it
    does, as far as it goes by itself.
    """
    seconds = int((now - _EPOCH).total_seconds())
    if certificate.kind != _USER:
        return "it is no user's certificate"
    if not certificate.principals:
        return "it has no principals, and so is nobody's"
    if user not in certificate.principals:
        return f"{shown(user)} is none of its principals"
    if seconds < certificate.valid_after:
        return f"it is not valid before {_spelled(certificate.valid_after)}"
    if seconds >= certificate.valid_before:
        return f"it expired at {_spelled(certificate.valid_before)}"
    return _restriction(certificate, address)


def _restriction(certificate: Certificate, address: str) -> str | None:
    for name, data in certificate.critical.items():
        match name:
            case "source-address":
                try:
                    sources = _sources(data)
                except ValueError as error:
                    return f"its source-address cannot be read: {error}"
                if not within(address, sources):
                    return f"it does not count from {address}"
            case "verify-required":
                if data:
                    return "its verify-required cannot be read"
                if not certificate.key.hardware:
                    return "it says verify-required, and its key is in no security key"
            case _:
                return f"its critical option {shown(name)} cannot be honoured"
    return None


def _sources(data: bytes) -> tuple[str, ...]:
    reader = Reader(data, "it")
    listed = reader.text()
    reader.end()
    return tuple(network(one) for one in listed.split(","))


def _spelled(seconds: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds")
    except OverflowError:
        return "the end of time"


# ------------------------------------------------------------------------------------ its parts


def _key(reader: Reader) -> PublicKey:
    name = reader.text()
    kind = _PLAIN.get(name)
    if kind is None:
        raise Damaged(f"{shown(name)} is no kind of certificate that is allowed")
    reader.string()  # a nonce
    return PublicKey(kind, string(kind.encode()) + read_fields(kind, reader))


def _principals(data: bytes) -> tuple[str, ...]:
    reader = Reader(data, "the list of principals")
    found: list[str] = []
    while reader:
        if len(found) == _MOST_PRINCIPALS:
            raise Damaged(f"the certificate has more than {_MOST_PRINCIPALS} principals")
        found.append(reader.string().decode("utf-8", "backslashreplace"))
    return tuple(found)


def _options(data: bytes) -> dict[str, bytes]:
    reader = Reader(data, "the list of options")
    found: dict[str, bytes] = {}
    while reader:
        name = reader.text()
        if name in found:
            raise Damaged(f"the certificate has the option {shown(name)} twice")
        found[name] = reader.string()
    return found


def _check_algorithm(authority: PublicKey, signature: bytes) -> None:
    name = Reader(signature, "the signature").text()
    allowed = _RSA_SIGNATURES if authority.type == "ssh-rsa" else {authority.type}
    if name not in allowed:
        raise Damaged(f"it is signed by {shown(name)}, which is not allowed")
