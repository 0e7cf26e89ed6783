"""Public keys of SSH: which kinds prove somebody, and whether a blob is a sound one of them.

The blob is what base64 hides in a `.pub` file: RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4 and
OpenSSH's PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from broker.core.model import shown
from broker.core.sshdata import Damaged, Reader

#: Bits of an RSA key; more than the upper bound only costs time.
SHORTEST_RSA = 2048
LONGEST_RSA = 16384

#: Bytes of a blob: the longest RSA key is a little over 2 KiB.
LONGEST_BLOB = 8192


class WeakKey(Damaged):
    """A sound key that is too weak to prove anybody."""


@dataclass(frozen=True, slots=True)
class _Curve:
    """A curve y² = x³ - 3x + b over the field of p (FIPS 186-4 D.1.2)."""

    name: str
    p: int
    b: int

    def holds(self, point: bytes) -> bool:
        """Whether these bytes are a point of it, uncompressed as SSH wants them."""
        size = (self.p.bit_length() + 7) // 8
        if len(point) != 1 + 2 * size or point[0] != 4:
            return False
        x = int.from_bytes(point[1 : 1 + size], "big")
        y = int.from_bytes(point[1 + size :], "big")
        return x < self.p and y < self.p and (y * y - (x * x * x - 3 * x + self.b)) % self.p == 0


_CURVES = {
    curve.name: curve
    for curve in (
        _Curve(
            "nistp256",
            2**256 - 2**224 + 2**192 + 2**96 - 1,
            0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        ),
        _Curve(
            "nistp384",
            2**384 - 2**128 - 2**96 + 2**32 - 1,
            0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        ),
        _Curve(
            "nistp521",
            2**521 - 1,
            0x51953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
        ),
    )
}

#: Kinds of keys by the name that stands before them.
KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        *(f"ecdsa-sha2-{name}" for name in _CURVES),
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",
    }
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, checked."""

    type: str
    blob: bytes

    @property
    def public(self) -> str:
        """`TYPE BASE64`, as in an `authorized_keys` line."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and 43 characters, as OpenSSH prints it."""
        return fingerprint(self.blob)

    @property
    def hardware(self) -> bool:
        """Whether it is in a security key, which a person touches."""
        return self.type.startswith("sk-")


def fingerprint(blob: bytes) -> str:
    """`SHA256:` and 43 characters."""
    return f"SHA256:{unpadded(hashlib.sha256(blob).digest())}"


def unpadded(digest: bytes) -> str:
    """A digest as OpenSSH prints it."""
    return base64.b64encode(digest).decode().rstrip("=")


def read_key(blob: bytes) -> PublicKey:
    """The key of a blob. Raises `Damaged` with what is wrong, `WeakKey` for a short one."""
    if len(blob) > LONGEST_BLOB:
        raise Damaged("the key is too long")
    reader = Reader(blob, "the key")
    kind = reader.text()
    if kind not in KEY_TYPES:
        raise Damaged(f"{shown(kind)} is no kind of key that is allowed")
    read_fields(kind, reader)
    reader.end()
    return PublicKey(kind, blob)


def read_fields(kind: str, reader: Reader) -> bytes:
    """Take the fields that a key of that kind has after its name, and check them."""
    start = reader.offset
    if kind == "ssh-rsa":
        _rsa(reader)
    elif "ecdsa" in kind:
        _ecdsa(kind, reader)
    elif len(reader.string()) != 32:
        raise Damaged("the key has the wrong length")
    if kind.startswith("sk-"):
        reader.text()  # the application, `ssh:` mostly
    return reader.since(start)


def _rsa(reader: Reader) -> None:
    exponent, modulus = reader.mpint(), reader.mpint()
    bits = modulus.bit_length()
    if bits < SHORTEST_RSA:
        raise WeakKey(f"an RSA key of {bits} bits is too weak; {SHORTEST_RSA} or more are wanted")
    if bits > LONGEST_RSA:
        raise Damaged(f"an RSA key of {bits} bits is too long; at most {LONGEST_RSA} are allowed")
    # OpenSSL takes no longer exponent with a modulus of this size.
    if not (modulus & 1 and exponent & 1 and 3 <= exponent < 1 << 64):
        raise Damaged("the key's numbers are those of no RSA key")


def _ecdsa(kind: str, reader: Reader) -> None:
    name = reader.text()
    curve = _CURVES.get(name)
    if curve is None or f"ecdsa-sha2-{name}" not in kind:
        raise Damaged("the key is on another curve than it says")
    if not curve.holds(reader.string()):
        raise Damaged("the key is no point of its curve")


def unarmoured(kind: str, text: str) -> PublicKey:
    """The key of `TYPE BASE64`. Raises `Damaged`."""
    try:
        blob = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise Damaged("its base64 is cut or damaged") from None
    key = read_key(blob)
    if key.type != kind:
        raise Damaged(f"it says {shown(kind)} and is {shown(key.type)}")
    return key


AUTHORITY_RULE = "allowed is an authority's public key in one line: 'ssh-ed25519 AAAA… comment'"


def authority(line: str) -> str:
    """`TYPE BASE64` of the public key line of an authority that signs certificates; else
    `ValueError` with what is allowed.
    """
    words = line.strip().split(None, 2)
    if len(words) < 2 or words[0] not in KEY_TYPES or not line.strip().isprintable():
        raise ValueError(AUTHORITY_RULE)
    try:
        return unarmoured(words[0], words[1]).public
    except Damaged as error:
        raise ValueError(f"{error}; {AUTHORITY_RULE}") from None
