"""What desktops are made of and where: engine, network, pools, template, limits, and when they sleep."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from broker.config.kinds import (
    DisplayRange,
    Model,
    Period,
    PortRange,
    Seconds,
    Size,
    UidRange,
    at_most,
)
from broker.core import netpolicy, words
from broker.core.idle import IdlePolicy
from broker.core.model import Template
from broker.core.pools import Pool

if TYPE_CHECKING:
    from pydantic_core import InitErrorDetails

_Reached = Annotated[
    str, Field(pattern=r"^(internet|names|[0-9./]+( +(tcp|udp)( +\d+(-\d+)?)?)?)$")
]

NetworkPolicy = Annotated[
    netpolicy.NetworkPolicy,
    BeforeValidator(
        netpolicy.parse,
        json_schema_input_type=Literal["none", "internet", "full"] | list[_Reached],
    ),
]


class EngineConfig(Model):
    """Where the container engine is."""

    socket: str = "unix:///var/run/docker.sock"

    @field_validator("socket")
    @classmethod
    def _local(cls, socket: str) -> str:
        if not socket.startswith("unix:///"):
            raise ValueError("allowed is the engine's Unix socket: unix:///var/run/docker.sock")
        return socket


class NetworkConfig(Model):
    """The bridge of the desktops."""

    pool: str = "10.213.0.0/16"
    """Each installation takes one /22 of it: a thousand addresses."""
    required: bool = False
    """Whether Desk starts only where its rules of the network can be put in place."""
    resolvers: Annotated[tuple[str, ...], Field(min_length=1, max_length=3)] | None = None
    """Name servers of the desktops; none given: the host's own that are not on loopback."""

    @field_validator("pool")
    @classmethod
    def _subnet(cls, pool: str) -> str:
        try:
            network = ipaddress.IPv4Network(pool)
        except ValueError:
            raise ValueError("allowed is an IPv4 network: 10.213.0.0/16") from None
        if network.prefixlen > 22 or not network.is_private:
            raise ValueError("allowed is a private IPv4 network of /22 or larger: 10.213.0.0/16")
        return str(network)

    @field_validator("resolvers")
    @classmethod
    def _routable(cls, resolvers: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in resolvers or ():
            try:
                address = ipaddress.IPv4Address(text)
            except ValueError:
                raise ValueError("allowed are IPv4 addresses of name servers") from None
            if address.is_loopback:
                raise ValueError(
                    "a loopback address is not allowed: the engine would ask it from the host's own network"
                )
        return resolvers


class PoolsConfig(Model):
    """What is leased: to a session, and uids to a desktop for life."""

    ports: PortRange = Pool(20000, 29999)
    displays: DisplayRange = Pool(1000, 9999)
    uids: UidRange = Pool(2_000_000_000, 2_000_099_999)


class StartsConfig(Model):
    """How many desktops may start at once, and how long one may take."""

    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    waiting: Annotated[int, Field(ge=1, le=10_000)] = 64
    per_user: Annotated[int, Field(ge=1, le=64)] = 2
    timeout: Seconds = 90.0


class TemplateConfig(Model):
    """What desktops are made from."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-zA-Z0-9._/:@-]{0,200}$")]
    memory: Size = 2 << 30
    cpus: Annotated[float, Field(ge=0.01, le=256)] = 2.0
    pids: Annotated[int, Field(ge=128, le=65536)] = 1024
    shm: Size = 256 << 20
    geometry: Annotated[str, Field(pattern=r"^[1-9]\d{2,3}x[1-9]\d{2,3}$")] = "1280x800"
    network: NetworkPolicy = Field(default="internet", validate_default=True)
    home: Size | None = None
    """Bytes; none given: no bound."""

    def template(self, name: str) -> Template:
        return Template(
            name=name,
            image=self.image,
            memory=self.memory,
            cpus=self.cpus,
            pids=self.pids,
            shm=self.shm,
            geometry=self.geometry,
            network=self.network,
            home=self.home,
        )


class IdleConfig(Model):
    """When desktops sleep."""

    freeze_after: Period = 3600.0
    stop_after: Period = 86_400.0
    archive_after: Period = None
    max_age: Period = None
    warn_before: Annotated[Seconds, at_most(3600.0, "1h")] = 300.0
    keep_up_to: Seconds = 3 * 86_400.0
    busy_for: Seconds = 86_400.0
    busy_cpu: Annotated[float, Field(ge=0.001, le=256)] = 0.1

    @model_validator(mode="after")
    def _room_for_a_warning(self) -> IdleConfig:
        periods = {name: getattr(self, name) for name in ("freeze_after", "stop_after", "max_age")}
        short = [n for n, period in periods.items() if period and period <= self.warn_before]
        if short:
            raise ValidationError.from_exception_data(
                type(self).__name__, [self._no_room(name, periods[name]) for name in short]
            )
        return self

    def _no_room(self, name: str, period: float) -> InitErrorDetails:
        """At the key that the file has: of the two, one can be a default."""
        if name in self.model_fields_set:
            key, told = name, f"more than warn_before ({words.spoken(self.warn_before)})"
        else:
            key, told = "warn_before", f"less than {name} ({words.spoken(period)})"
        error = ValueError(f"allowed is {told}, or nobody could be warned")
        return {"type": "value_error", "loc": (key,), "input": None, "ctx": {"error": error}}

    @property
    def policy(self) -> IdlePolicy:
        return IdlePolicy(
            freeze_after=self.freeze_after,
            stop_after=self.stop_after,
            max_age=self.max_age,
            warn_before=self.warn_before,
            keep_up_to=self.keep_up_to,
            busy_for=self.busy_for,
            busy_cpu=self.busy_cpu,
        )


class LimitsConfig(Model):
    """How much there may be, in all and of one user."""

    desktops_per_user: Annotated[int, Field(ge=1, le=1000)] = 5
    running: Annotated[int, Field(ge=1)] | None = None
    """Desktops that live at a time, frozen ones too; none given: as many as the pools hold."""
    running_per_user: Annotated[int, Field(ge=1, le=1000)] = 3
