"""The credential of a connection that a certificate opened: all that has to be looked at again
while it stands, as one string.

`certificate:SHA256:AUTHORITY:SERIAL:SHA1:KEY:SHA1:KEY-ID`: fingerprints of the authority's and of the
certificate's own key, by SHA-1 too, as a revocation list can name them; and the key id's SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.publickeys import unpadded

if TYPE_CHECKING:
    from broker.core.certificates import Certificate

_SHA256 = r"([A-Za-z0-9+/]{43})"
_SHA1 = r"([A-Za-z0-9+/]{27})"
_FORM = re.compile(
    rf"certificate:SHA256:{_SHA256}:(\d{{1,20}}):{_SHA1}:{_SHA256}:{_SHA1}:{_SHA256}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Hashes:
    """A key as a revocation list can name it."""

    sha256: bytes
    sha1: bytes

    @classmethod
    def of(cls, blob: bytes) -> Hashes:
        return cls(
            hashlib.sha256(blob).digest(), hashlib.sha1(blob, usedforsecurity=False).digest()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """Which certificate it was; `str` gives the credential."""

    authority: Hashes
    serial: int
    key: Hashes
    key_id: bytes
    """Its SHA-256: a key id can be of any length."""

    @classmethod
    def of(cls, certificate: Certificate) -> Issued:
        return cls(
            authority=Hashes.of(certificate.authority.blob),
            serial=certificate.serial,
            key=Hashes.of(certificate.key.blob),
            key_id=hashlib.sha256(certificate.key_id).digest(),
        )

    @classmethod
    def parse(cls, credential: str) -> Issued | None:
        """None for the credential of another kind, or none."""
        found = _FORM.fullmatch(credential)
        if found is None:
            return None
        authority, serial, authority_sha1, key, key_sha1, key_id = found.groups()
        return cls(
            authority=Hashes(_digest(authority), _digest(authority_sha1)),
            serial=int(serial),
            key=Hashes(_digest(key), _digest(key_sha1)),
            key_id=_digest(key_id),
        )

    def __str__(self) -> str:
        digests = (self.authority.sha1, self.key.sha256, self.key.sha1, self.key_id)
        return ":".join(("certificate", self.signed_by, str(self.serial), *map(unpadded, digests)))

    @property
    def signed_by(self) -> str:
        """The fingerprint of the authority's key, as OpenSSH prints it."""
        return f"SHA256:{unpadded(self.authority.sha256)}"

    @property
    def proof(self) -> str:
        """For people, as in the audit: the authority and the serial."""
        return f"certificate {self.signed_by} serial {self.serial}"


def _digest(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
