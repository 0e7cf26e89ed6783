"""Every number of the HTTP port, and whom it believes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.config import WebConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What the configuration says of the HTTP port of one door. Sizes are bytes, times seconds."""

    tls: bool
    """Whether the port speaks TLS, and nothing else."""
    proxies: tuple[str, ...]
    """Networks whose word counts on who the client is."""
    monitors: tuple[str, ...]
    """Networks that may ask how Desk is, besides this host."""
    patience: float
    """For a broker that is away."""
    origin: str | None
    """Where browsers find the pages, as `SCHEME://HOST[:PORT]`; None: wherever they come to."""

    connections: int
    """In all."""
    connections_per_address: int
    """Of an address that is no proxy's."""
    arrivals: int
    """New connections in a second: each can cost a TLS handshake, for which SSH waits."""
    arrivals_per_address: int
    """The same of an address that is no proxy's."""
    rate: int
    """Requests in a second: SSH waits a moment for each."""
    rate_per_address: int
    """The same of a client."""
    requests: int
    """That the broker works at, in all."""
    requests_per_address: int
    """The same of a client, and those whose body is on its way."""
    requests_per_connection: int
    """After which the connection ends."""
    viewers: int
    """Browsers that are in desktops, in all; as many that hear one, and that move files."""
    viewers_per_user: int
    """The same of one person."""
    header: int
    """One header, or the request line."""
    headers: int
    """All headers of a request, their names and values together."""
    body: int
    """Of a request."""
    upload: int
    """Of a file that is put into a desktop."""
    handshake_timeout: float
    """For TLS."""
    header_timeout: float
    """From the connect, or the end of the answer before, to the end of a request's headers."""
    body_timeout: float
    """From the headers to the end of the body."""
    answer_timeout: float
    """For which the broker may say nothing, before its answer and in the middle of it."""
    stall_timeout: float
    """For which a client may take nothing of what waits for it."""

    @classmethod
    def of(cls, config: WebConfig) -> WebSettings:
        return cls(
            tls=config.tls.files is not None,
            proxies=config.proxies,
            monitors=config.monitors,
            patience=config.patience,
            origin=config.url,
            **config.limits.model_dump(),
        )

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> WebSettings:
        """As `dataclasses.asdict` and JSON, which has lists alone, left it. Raises `TypeError` for
        what another version wrote.
        """
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in told.items()
        }
        return cls(**values)

    @property
    def descriptors(self) -> int:
        """How many it can take up: each client's, for each request one to the broker, for each
        viewer one to a desktop.
        """
        return self.connections + self.requests + self.viewers
