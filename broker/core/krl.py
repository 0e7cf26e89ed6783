"""OpenSSH's key revocation lists, as its PROTOCOL.krl defines them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from broker.core.model import shown
from broker.core.revocations import Listed
from broker.core.sshdata import Damaged, Reader

if TYPE_CHECKING:
    from broker.core.revocations import Named

MAGIC = b"SSHKRL\n\0"

_VERSION = 1

#: Bytes before the first section that say nothing here: its number, when it was made, flags.
_HEADER = 24

#: Bits of one bitmap, as OpenSSH bounds it.
_LARGEST_BITMAP = 1 << 24

_WHAT = "the revocation list"


def read_krl(data: bytes) -> Listed:
    """What the list says. Raises `Damaged`, also for parts that nobody defined: what they revoke
    cannot be known. A signature in it proves nothing here: the list is a file of the operator's.
    """
    reader = Reader(data, _WHAT)
    if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != _VERSION:
        raise Damaged("it is no revocation list of a version that is known")
    reader.take(_HEADER)
    reader.string()  # reserved
    reader.string()  # a comment
    listed = Listed()
    while reader:
        _section(reader.byte(), Reader(reader.string(), _WHAT), reader, listed)
    return listed


def _section(kind: int, section: Reader, whole: Reader, listed: Listed) -> None:
    match kind:
        case 1:  # certificates of one authority, or of any
            _certificates(section, listed)
        case 2:  # whole keys
            while section:
                listed.sha256.add(hashlib.sha256(section.string()).digest())
        case 3:  # SHA-1 of keys
            _digests(section, 20, listed.sha1)
        case 4:  # a key that signed the list, and its signature
            whole.string()
        case 5:  # SHA-256 of keys
            _digests(section, 32, listed.sha256)
        case 255:
            _extension(section)
        case _:
            raise Damaged(f"the revocation list has a section of the unknown kind {kind}")


def _digests(section: Reader, size: int, into: set[bytes]) -> None:
    while section:
        digest = section.string()
        if len(digest) != size:
            raise Damaged("the revocation list has a fingerprint of the wrong length")
        into.add(digest)


def _extension(section: Reader) -> None:
    name, critical = section.text(), section.byte()
    section.string()
    section.end()
    if critical:
        raise Damaged(f"the revocation list has the unknown critical extension {shown(name)}")


def _certificates(section: Reader, listed: Listed) -> None:
    authority = section.string()
    section.string()  # reserved
    named = listed.of(hashlib.sha256(authority).digest() if authority else None)
    while section:
        kind, part = section.byte(), Reader(section.string(), _WHAT)
        match kind:
            case 0x20:  # serials
                while part:
                    serial = part.uint64()
                    named.ranges.append((serial, serial))
            case 0x21:  # the first and the last of a range
                named.ranges.append(_range(part.uint64(), part.uint64()))
            case 0x22:  # a bit for each serial from the first on
                _bitmap(part.uint64(), part.mpint(), named)
            case 0x23:
                while part:
                    named.key_ids.add(hashlib.sha256(part.string()).digest())
            case 0x39:
                _extension(part)
            case _:
                raise Damaged(f"the revocation list has certificates by the unknown kind {kind}")
        part.end()


def _range(first: int, last: int) -> tuple[int, int]:
    if first > last:
        raise Damaged("the revocation list has a range whose end is before its beginning")
    return first, last


def _bitmap(first: int, bits: int, named: Named) -> None:
    size = bits.bit_length()
    if size > _LARGEST_BITMAP:
        raise Damaged("the revocation list has a bitmap that is too long")
    if bits:
        written = f"{bits:b}"
        named.ranges.extend(
            (first + size - run.end(), first + size - 1 - run.start())
            for run in re.finditer("1+", written)
        )
