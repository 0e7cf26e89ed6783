"""The SSH front door, and the bounds that it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError, model_validator

from broker.config.kinds import Listen, Model, Network, Seconds, Size, bounded, out_of_order

if TYPE_CHECKING:
    from pydantic_core import InitErrorDetails

_Connections = Annotated[int, Field(ge=1, le=65_536)]
_Price = Annotated[Seconds, bounded(0, 86_400, "at most 1d")]
_Queue = Annotated[int, Field(ge=16, le=65_536)]
_QueueBytes = Annotated[Size, bounded(64 << 10, 16 << 20, "64k to 16m")]


class SshLimits(Model):
    """What one door bears of all, of an address, of a person, of a connection; `door/limits.py`
    says what each number is for.
    """

    unauthenticated: _Connections = 384
    unauthenticated_start: _Connections = 192
    unauthenticated_per_address: _Connections = 96
    unauthenticated_per_address_start: _Connections = 64
    early_drop: Annotated[int, Field(ge=1, le=100)] = 30
    ipv4_prefix: Annotated[int, Field(ge=16, le=32)] = 32
    ipv6_prefix: Annotated[int, Field(ge=32, le=128)] = 64
    connections: _Connections = 4096
    connections_per_user: Annotated[int, Field(ge=1, le=10_000)] = 64
    descriptors_reserved: Annotated[int, Field(ge=32, le=65_536)] = 256
    login_timeout: Annotated[Seconds, bounded(2, 600, "2s to 10m")] = 20.0
    typing_timeout: Annotated[Seconds, bounded(2, 600, "2s to 10m")] = 120.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    early_packet: Annotated[Size, bounded(35_000, 256 << 10, "35k to 256k")] = 35 << 10
    early_bytes: Annotated[Size, bounded(64 << 10, 4 << 20, "64k to 4m")] = 256 << 10
    early_packets: Annotated[int, Field(ge=50, le=10_000)] = 200
    packet: Annotated[Size, bounded(64 << 10, 1 << 20, "64k to 1m")] = 256 << 10
    packets_per_second: Annotated[int, Field(ge=1000, le=10_000_000)] = 30_000
    channels: Annotated[int, Field(ge=8, le=1000)] = 64
    refused_opens: Annotated[int, Field(ge=10, le=100_000)] = 1000
    undecided_requests: _Queue = 1024
    undecided_bytes: _QueueBytes = 256 << 10
    waiting_packets: _Queue = 1024
    waiting_bytes: _QueueBytes = 256 << 10
    global_replies: _Queue = 1024
    environment_count: Annotated[int, Field(ge=1, le=1000)] = 32
    environment_bytes: Annotated[Size, bounded(256, 1 << 20, "0.25k to 1m")] = 4 << 10
    write_high: Annotated[Size, bounded(64 << 10, 64 << 20, "64k to 64m")] = 1 << 20
    own_replies: Annotated[Size, bounded(64 << 10, 64 << 20, "64k to 64m")] = 2 << 20
    deferred: Annotated[Size, bounded(1 << 20, 64 << 20, "1m to 64m")] = 4 << 20
    rekeys_per_minute: Annotated[int, Field(ge=2, le=1000)] = 20
    rekey_stall: Annotated[Seconds, bounded(2, 600, "2s to 10m")] = 30.0

    @model_validator(mode="after")
    def _in_order(self) -> SshLimits:
        wrong = [
            self._out_of_order(low, high, times)
            for low, high, times in _ORDER
            if getattr(self, low) * times > getattr(self, high)
        ]
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    def _out_of_order(self, low: str, high: str, times: int) -> InitErrorDetails:
        """At the key that the file has: of the two, one can be a default."""
        share = {1: "", 2: "half of ", 4: "a quarter of "}[times]
        multiple = {1: "", 2: "twice ", 4: "four times "}[times]
        if low in self.model_fields_set:
            key, told = low, f"at most {share}{high} ({self._written(high)})"
        else:
            key, told = high, f"at least {multiple}{low} ({self._written(low)})"
        error = ValueError(f"allowed is {told}")
        return {"type": "value_error", "loc": (key,), "input": None, "ctx": {"error": error}}

    def _written(self, key: str) -> str:
        """A number as the file would have it."""
        value: int = getattr(self, key)
        return f"{value / 1024:g}k" if key in _SIZES else str(value)


#: Of two numbers, how many times the first must fit into the second.
_ORDER = (
    ("unauthenticated_start", "unauthenticated", 1),
    ("unauthenticated_per_address_start", "unauthenticated_per_address", 1),
    ("unauthenticated_per_address", "unauthenticated", 4),
    ("early_packet", "early_bytes", 1),
    ("write_high", "own_replies", 2),
    ("own_replies", "deferred", 2),
)

_SIZES = {"early_packet", "early_bytes", "write_high", "own_replies", "deferred"}


class SshPenalties(Model):
    """For how long a source is turned away for what it did before anybody was proven."""

    enabled: bool = True
    crash: _Price = 90.0
    violation: _Price = 10.0
    grace_exceeded: _Price = 10.0
    authfail: _Price = 3.0
    noauth: _Price = 1.0
    min: Annotated[Seconds, bounded(1, 3600, "1s to 1h")] = 15.0
    max: Annotated[Seconds, bounded(1, 86_400, "1s to 1d")] = 600.0
    sources: Annotated[int, Field(ge=64, le=65_536)] = 16_384
    overflow: Annotated[str, Field(pattern=r"^(permissive|deny)$")] = "permissive"
    exempt: Annotated[tuple[Network, ...], Field(max_length=1000)] = ("127.0.0.0/8", "::1/128")

    @model_validator(mode="after")
    def _min_within_max(self) -> SshPenalties:
        if self.min <= self.max:
            return self
        raise out_of_order(self, "min", "max")


class SshConfig(Model):
    """The SSH front door."""

    listen: Listen = Listen(host="0.0.0.0", port=2222)  # noqa: S104 - what users reach
    fast: bool = True
    """False keeps every packet on the library's own path: slower, for comparing."""
    doors: Annotated[int, Field(ge=1, le=64)] | None = None
    """Processes that carry what people send; none given: one for each core, at most 4."""
    patience: Annotated[Seconds, bounded(1, 600, "1s to 10m")] = 30.0
    drain: Annotated[Seconds, bounded(1, 7 * 86_400, "1s to 7d")] = 86_400.0
    limits: SshLimits = SshLimits()
    penalties: SshPenalties = SshPenalties()
