"""Keys and certificates that count no more: a revocation list, as a text or as OpenSSH's KRL."""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core.model import shown
from broker.core.sshdata import Damaged, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.issued import Hashes, Issued

#: A serial has 64 bits.
_LARGEST = 2**64 - 1


class Serials:
    """Many numbers, as ranges that neither meet nor touch."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Each range is its first and its last number."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, serial: int) -> bool:
        place = bisect_right(self._firsts, serial)
        return place > 0 and serial <= self._lasts[place - 1]


@dataclass(slots=True)
class Named:
    """What a list says of the certificates of one authority, or of any."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    key_ids: set[bytes] = field(default_factory=set)
    """The SHA-256 of each."""


@dataclass(slots=True)
class Listed:
    """What a list says, while it is read."""

    sha256: set[bytes] = field(default_factory=set)
    """Of the keys' blobs."""
    sha1: set[bytes] = field(default_factory=set)
    certificates: dict[bytes | None, Named] = field(default_factory=dict)
    """By the SHA-256 of the authority's key; None for any authority."""

    def of(self, authority: bytes | None) -> Named:
        return self.certificates.setdefault(authority, Named())


class Revoked:
    """A revocation list; empty by default."""

    def __init__(self, listed: Listed | None = None) -> None:
        listed = listed or Listed()
        self._sha256 = frozenset(listed.sha256)
        self._sha1 = frozenset(listed.sha1)
        self._certificates = {
            authority: (Serials(named.ranges), frozenset(named.key_ids))
            for authority, named in listed.certificates.items()
        }

    def key(self, hashes: Hashes) -> bool:
        """Whether that key is on it."""
        return hashes.sha256 in self._sha256 or hashes.sha1 in self._sha1

    def certificate(self, issued: Issued) -> str | None:
        """Why that certificate counts no more; None when it is not on it. A serial of 0 is what an
        authority writes that gives none: it never is, as with OpenSSH.
        """
        if self.key(issued.authority):
            return "its authority's key is revoked"
        if self.key(issued.key):
            return "its key is revoked"
        for listed in (issued.authority.sha256, None):
            serials, key_ids = self._certificates.get(listed, _NOTHING)
            if issued.key_id in key_ids:
                return "its key id is revoked"
            if issued.serial and issued.serial in serials:
                return f"its serial {issued.serial} is revoked"
        return None


_NOTHING: tuple[Serials, frozenset[bytes]] = (Serials(()), frozenset())

# ------------------------------------------------------------------------------------ as a text

_SERIAL = re.compile(r"(\d{1,20})(?:\s*-\s*(\d{1,20}))?", re.ASCII)
_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})")
_LINE_RULE = "a line is 'serial: 7', 'serial: 7-12', 'id: KEY ID', 'SHA256:…' or a public key"


def read_text(data: bytes) -> Listed:
    """A list with one thing a line, `#` before comments, as ssh-keygen makes a KRL from; serials
    and key ids are of any authority. Raises `Damaged` that names the line.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("it is neither a KRL of OpenSSH nor a text") from None
    listed = Listed()
    for number, line in enumerate(text.split("\n"), 1):
        said = line.partition("#")[0].strip()
        if said and not _taken(said, listed):
            raise Damaged(f"line {number}: found {shown(said)}; {_LINE_RULE}")
    return listed


def _taken(said: str, listed: Listed) -> bool:
    """Whether the line was one."""
    name, colon, value = said.partition(":")
    value = value.strip()
    match name.lower() if colon else "":
        case "serial":
            found = _SERIAL.fullmatch(value)
            first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
            listed.of(None).ranges.append((first, last))
            return 1 <= first <= last <= _LARGEST
        case "id":
            listed.of(None).key_ids.add(hashlib.sha256(value.encode()).digest())
            return bool(value)
        case "hash" | "key":
            return _key_taken(value, listed)
    return _key_taken(said, listed)


def _key_taken(said: str, listed: Listed) -> bool:
    fingerprint = _FINGERPRINT.fullmatch(said)
    if fingerprint is not None:
        listed.sha256.add(base64.b64decode(fingerprint[1] + "="))
        return True
    kind, _, rest = said.partition(" ")
    encoded = rest.strip().partition(" ")[0]
    try:
        blob = base64.b64decode(encoded, validate=True)
        sound = Reader(blob, "the key").text() == kind and "-cert-" not in kind
    except ValueError:
        return False
    listed.sha256.add(hashlib.sha256(blob).digest())
    return sound
