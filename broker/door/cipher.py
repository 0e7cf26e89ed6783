# ruff: noqa: SLF001 - with `lane` and `wire` the place that touches the inside of asyncssh
"""AES-GCM with one counter that asyncssh's packet path and the fast lane share."""

from __future__ import annotations

from asyncssh.encryption import Encryption, GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Bytes of a packet beside its encrypted part: the length before it, the tag behind it.
LENGTH = 4
TAG = 16

#: RFC 4253: each packet has at least so much.
LEAST_PADDING = 4

COUNTER_MASK = (1 << 64) - 1

#: Below it a counter cannot pass its end within one read.
COUNTER_SAFE = COUNTER_MASK - (1 << 20)


class SharedGCM(Encryption):
    """asyncssh's own GCM object sets the cipher up anew for each packet; this one keeps it."""

    __slots__ = ("aead", "counter", "salt")

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self.aead = AESGCM(key)
        self.salt = nonce[:4]
        self.counter = int.from_bytes(nonce[4:], "big")

    def _next_nonce(self) -> bytes:
        nonce = self.salt + self.counter.to_bytes(8, "big")
        self.counter = (self.counter + 1) & COUNTER_MASK
        return nonce

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        del seq
        sealed = self.aead.encrypt(self._next_nonce(), packet, header)
        return header + sealed[:-TAG], sealed[-TAG:]

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        del seq
        return first_block, first_block[:header_len]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        del seq
        try:
            sealed = first[header_len:] + rest + mac
            plain = self.aead.decrypt(self._next_nonce(), sealed, first[:header_len])
        except InvalidTag:
            return None
        padding = plain[0] if plain else 0
        return plain if LEAST_PADDING <= padding <= len(plain) - 2 else None


def shared(encryption: Encryption | None) -> Encryption | None:
    """The same cipher, key and counter as a `SharedGCM`, where it is asyncssh's GCM."""
    if not isinstance(encryption, GCMEncryption):
        return encryption
    cipher = encryption._cipher
    return SharedGCM(cipher._key, cipher._iv)
