"""The HTTP port of the doors: where it is, what protects it, and the bounds that it keeps."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from broker.config.kinds import (
    Listen,
    Model,
    Network,
    Seconds,
    Size,
    bounded,
    is_loopback,
    out_of_order,
)

if TYPE_CHECKING:
    from pydantic_core import InitErrorDetails

_Connections = Annotated[int, Field(ge=1, le=65_536)]
_Time = Annotated[Seconds, bounded(1, 600, "1s to 10m")]

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+", re.ASCII)

#: Bits of the widest network that may hold proxies: whoever is in it is believed.
_WIDEST_PROXIES = {4: 16, 6: 48}


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("allowed is an absolute path: /etc/desk/tls/host.pem")
    return path


def _few(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in map(ipaddress.ip_network, networks):
        if network.prefixlen < _WIDEST_PROXIES[network.version]:
            raise ValueError(
                "allowed are the addresses of the proxies themselves, at the widest a /16 of IPv4 or"
                " a /48 of IPv6: what they say of a client's address is believed"
            )
    return networks


#: What browsers leave out of an origin.
_PORTS = {"https": 443, "http": 80}


def _origin(url: str) -> str:
    """As browsers write it: in lower case, without the port that goes without saying."""
    rule = (
        "allowed is https://HOST[:PORT], as browsers reach it, with nothing behind that;"
        " http:// for a loopback host alone"
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(rule) from None
    if parts.scheme not in _PORTS or not host or not _HOST.fullmatch(host):
        raise ValueError(rule)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(rule)
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(rule)
    named = f"[{host}]" if ":" in host else host
    written = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{named}{written}"


_File = Annotated[Path, AfterValidator(_absolute)]
_Networks = Annotated[tuple[Network, ...], Field(max_length=1000)]


class TlsConfig(Model):
    """PEM files; both or none."""

    certificate: _File | None = None
    """The host's certificate, and behind it those that lead to its authority."""
    key: _File | None = None

    @property
    def files(self) -> tuple[str, str] | None:
        """Certificate and key."""
        given = self.certificate is not None and self.key is not None
        return (str(self.certificate), str(self.key)) if given else None

    @model_validator(mode="after")
    def _both(self) -> TlsConfig:
        for given, missing in (("certificate", "key"), ("key", "certificate")):
            if getattr(self, given) is not None and getattr(self, missing) is None:
                raise _refusal(self, given, f"allowed is a {given} with its {missing} beside it")
        return self


class WebLimits(Model):
    """What one door bears of all, of an address, of a connection, of a request; `door/websettings.py`
    says what each number is for.
    """

    connections: _Connections = 512
    connections_per_address: _Connections = 256
    arrivals: Annotated[int, Field(ge=1, le=10_000)] = 64
    arrivals_per_address: Annotated[int, Field(ge=1, le=10_000)] = 32
    rate: Annotated[int, Field(ge=1, le=100_000)] = 200
    rate_per_address: Annotated[int, Field(ge=1, le=100_000)] = 100
    requests: Annotated[int, Field(ge=1, le=4096)] = 256
    requests_per_address: Annotated[int, Field(ge=1, le=4096)] = 128
    requests_per_connection: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    viewers: Annotated[int, Field(ge=1, le=4096)] = 128
    viewers_per_user: Annotated[int, Field(ge=1, le=4096)] = 16
    header: Annotated[Size, bounded(1 << 10, 64 << 10, "1k to 64k")] = 8 << 10
    headers: Annotated[Size, bounded(2 << 10, 256 << 10, "2k to 256k")] = 16 << 10
    body: Annotated[Size, bounded(1 << 10, 16 << 20, "1k to 16m")] = 256 << 10
    upload: Annotated[Size, bounded(1 << 20, 1 << 40, "1m to 1t")] = 2 << 30
    handshake_timeout: _Time = 10.0
    header_timeout: _Time = 20.0
    body_timeout: _Time = 30.0
    answer_timeout: _Time = 120.0
    stall_timeout: _Time = 30.0

    @model_validator(mode="after")
    def _in_order(self) -> WebLimits:
        for low, high in _ORDER:
            if getattr(self, low) <= getattr(self, high):
                continue
            if high in self.model_fields_set:
                raise _refusal(self, high, f"allowed is at least {low} ({self._written(low)})")
            raise _refusal(self, low, f"allowed is at most {high} ({self._written(high)})")
        return self

    def _written(self, key: str) -> str:
        """A number as the file would have it."""
        value: int = getattr(self, key)
        return f"{value / 1024:g}k" if key in _SIZES else str(value)


#: Of two numbers, which may not be more than the other.
_ORDER = (
    ("connections_per_address", "connections"),
    ("arrivals_per_address", "arrivals"),
    ("rate_per_address", "rate"),
    ("requests_per_address", "requests"),
    ("viewers_per_user", "viewers"),
    ("header", "headers"),
)

_SIZES = {"header", "headers"}


class SignInConfig(Model):
    """For how long a browser stays signed in."""

    idle: Annotated[Seconds, bounded(300, 30 * 86_400, "5m to 30d")] = 12 * 3600.0
    """Without a request of its pages, and nobody in a desktop by it."""
    longest: Annotated[Seconds, bounded(3600, 90 * 86_400, "1h to 90d")] = 7 * 86_400.0

    @model_validator(mode="after")
    def _idle_within_longest(self) -> SignInConfig:
        if self.idle <= self.longest:
            return self
        raise out_of_order(self, "idle", "longest")


class WebConfig(Model):
    """The HTTP port."""

    url: Annotated[str, AfterValidator(_origin)] | None = None
    """Where browsers find the pages."""
    listen: Listen = Listen(host="127.0.0.1", port=8080)
    tls: TlsConfig = TlsConfig()
    proxies: Annotated[_Networks, AfterValidator(_few)] = ()
    monitors: _Networks = ()
    patience: Annotated[Seconds, bounded(0.1, 60, "0.1s to 1m")] = 2.0
    sign_in: SignInConfig = SignInConfig()
    limits: WebLimits = WebLimits()

    @property
    def pages(self) -> str | None:
        """Where browsers find the pages; None: nobody has said, and nobody can tell."""
        if self.url is not None or ipaddress.ip_address(self.listen.host).is_unspecified:
            return self.url
        if self.proxies:
            return None  # browsers come to the proxy
        return f"{'http' if self.tls.certificate is None else 'https'}://{self.listen}"

    @model_validator(mode="after")
    def _plain_on_loopback_alone(self) -> WebConfig:
        if not self.listen.loopback and self.tls.certificate is None and not self.proxies:
            raise _refusal(
                self,
                "listen",
                "allowed is a loopback address, 127.0.0.1 or ::1, unless web.tls names a certificate"
                " or web.proxies the proxy in front that has one",
            )
        return self


def _refusal(model: Model, key: str, rule: str) -> ValidationError:
    """At the key itself, though it took all of them to see it."""
    details: InitErrorDetails = {
        "type": "value_error",
        "loc": (key,),
        "input": str(getattr(model, key)),
        "ctx": {"error": ValueError(rule)},
    }
    return ValidationError.from_exception_data(type(model).__name__, [details])
