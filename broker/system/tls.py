"""Certificates of TLS: a pair of files to what a server uses, and to one file for whoever may not
read them.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

from broker.core.errors import ConfigError

Stamp = tuple[tuple[int, int, int], ...]


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For HTTP/1.1 with TLS 1.2 or later; the two can be one file. Raises `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a passphrase of ours OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        raise ConfigError(
            public=f"web.tls: {certificate} and {key} are no certificate and its private key, both"
            f" PEM and without a passphrase ({error.reason})."
        ) from None
    except OSError as error:
        raise ConfigError(
            public=f"web.tls: {certificate} and {key}: {error.strerror or error}."
        ) from None
    return context


def stamp_of(*paths: Path) -> Stamp:
    """What changes when any of the files does. Raises `OSError`."""
    stats = [path.stat() for path in paths]
    return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in stats)


class Deposit:
    """One file with certificate and key, for a user who may not read those themselves."""

    def __init__(self, path: Path, owner: int | None) -> None:
        """The file is `owner`'s alone; None: this process's user's."""
        self.path = path
        self._owner = owner
        self._seen: tuple[tuple[str, str], Stamp] | None = None

    def take(self, files: tuple[str, str] | None) -> None:
        """Have it hold the certificate and the key of these files as they are now, or be gone.
        Raises `ConfigError` when they are no pair; then it is as it was.
        """
        if files is None:
            self._seen = None
            self.path.unlink(missing_ok=True)
            return
        certificate, key = map(Path, files)
        try:
            seen = (files, stamp_of(certificate, key))
            if seen != self._seen:
                self._write(certificate, key)
                self._seen = seen
        except OSError as error:
            raise ConfigError(
                public=f"web.tls: {error.filename}: {error.strerror or error}."
            ) from error

    def _write(self, certificate: Path, key: Path) -> None:
        """Whole or not at all."""
        server_context(certificate, key)
        text = certificate.read_bytes() + b"\n" + key.read_bytes()
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        try:
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as file:
                file.write(text)
            server_context(draft, draft)
            if self._owner is not None:
                os.chown(draft, self._owner, -1)
            draft.replace(self.path)
        finally:
            with suppress(OSError):
                draft.unlink()
