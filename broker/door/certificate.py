"""The certificate of the HTTP port, read again when its files change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.core.errors import ConfigError
from broker.system.tls import server_context, stamp_of

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from broker.system.tls import Stamp

log = structlog.get_logger()


class Certificate:
    """A pair of files, which can be one file."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `ConfigError` when they are no pair."""
        self._files = (certificate, key)
        self._seen = self._stamp()
        self._context = server_context(*self._files)

    def context(self) -> ssl.SSLContext:
        """For whoever comes now: of the files as they are, or as they last were a pair."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._context = server_context(*self._files)
                log.info("certificate taken over")
            except ConfigError as error:
                log.warning("certificate not taken over", problem=error.public)
        return self._context

    def _stamp(self) -> Stamp | None:
        try:
            return stamp_of(*self._files)
        except OSError:
            return None
