"""One YAML file to frozen, typed models; every mistake in it becomes one sentence for people.

`docs/config.md` explains each key; a test keeps the two in step.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from broker.core import words
from broker.core.errors import ConfigError
from broker.core.idle import IdlePolicy
from broker.core.model import NetworkPolicy, Template, shown
from broker.core.pools import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import InitErrorDetails


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError(f"allowed is {words.DURATION_RULE}")  # noqa: TRY004 - pydantic's protocol
    return words.seconds(value)


def _period(value: object) -> float | None:
    if not isinstance(value, str):
        raise ValueError(f"allowed is {words.PERIOD_RULE}")  # noqa: TRY004 - pydantic's protocol
    return words.period(value)


def _size(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(f"allowed is {words.SIZE_RULE}")  # noqa: TRY004 - pydantic's protocol
    return words.size(value)


def _range(value: object) -> Pool:
    match = re.fullmatch(r"(\d+)-(\d+)", value.strip()) if isinstance(value, str) else None
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError("allowed is a range of numbers, the lower one first: 20000-29999")
    return Pool(int(match[1]), int(match[2]))


def _within(low: int, high: int) -> AfterValidator:
    def check(pool: Pool) -> Pool:
        if pool.first < low or pool.last > high:
            raise ValueError(f"allowed is a range within {low}-{high}")
        return pool

    return AfterValidator(check)


def _at_most(longest: float, written: str) -> AfterValidator:
    def check(seconds: float) -> float:
        if seconds > longest:
            raise ValueError(f"allowed is at most {written}")
        return seconds

    return AfterValidator(check)


Seconds = Annotated[float, BeforeValidator(_seconds)]
Period = Annotated[float | None, BeforeValidator(_period)]
Size = Annotated[int, BeforeValidator(_size)]
PortRange = Annotated[Pool, BeforeValidator(_range), _within(1024, 65535)]
DisplayRange = Annotated[Pool, BeforeValidator(_range), _within(1000, 59999)]
UidRange = Annotated[Pool, BeforeValidator(_range), _within(1000, 4_000_000_000)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Listen(_Model):
    """A TCP address to listen on."""

    host: str
    port: Annotated[int, Field(ge=0, le=65535)]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if isinstance(value, str):
            host, colon, port = value.rpartition(":")
            if colon and host and port.isascii() and port.isdigit():
                return {"host": host.strip("[]"), "port": int(port)}
        if not isinstance(value, dict):
            raise ValueError("allowed is ADDRESS:PORT: 0.0.0.0:2222")  # noqa: TRY004 - see _seconds
        return value

    @field_validator("host")
    @classmethod
    def _literal(cls, host: str) -> str:
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            raise ValueError("allowed is an IP address and a port: 0.0.0.0:2222") from None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback


# ------------------------------------------------------------ the bounds of the SSH front door


def _bounded(low: float, high: float, written: str) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"allowed is {written}")
        return value

    return AfterValidator(check)


def _whole_network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(str(value)))
    except ValueError:
        raise ValueError(
            "allowed are addresses and networks: 192.0.2.7, 192.0.2.0/24, 2001:db8::/48"
        ) from None


_Connections = Annotated[int, Field(ge=1, le=65_536)]
_Network = Annotated[str, BeforeValidator(_whole_network)]
_Price = Annotated[Seconds, _bounded(0, 86_400, "at most 1d")]
_Queue = Annotated[int, Field(ge=16, le=65_536)]
_QueueBytes = Annotated[Size, _bounded(64 << 10, 16 << 20, "64k to 16m")]


class SshLimits(_Model):
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
    login_timeout: Annotated[Seconds, _bounded(2, 600, "2s to 10m")] = 20.0
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    early_packet: Annotated[Size, _bounded(35_000, 256 << 10, "35k to 256k")] = 35 << 10
    early_bytes: Annotated[Size, _bounded(64 << 10, 4 << 20, "64k to 4m")] = 256 << 10
    early_packets: Annotated[int, Field(ge=50, le=10_000)] = 200
    packet: Annotated[Size, _bounded(64 << 10, 1 << 20, "64k to 1m")] = 256 << 10
    packets_per_second: Annotated[int, Field(ge=1000, le=10_000_000)] = 30_000
    channels: Annotated[int, Field(ge=8, le=1000)] = 64
    refused_opens: Annotated[int, Field(ge=10, le=100_000)] = 1000
    undecided_requests: _Queue = 1024
    undecided_bytes: _QueueBytes = 256 << 10
    waiting_packets: _Queue = 1024
    waiting_bytes: _QueueBytes = 256 << 10
    global_replies: _Queue = 1024
    environment_count: Annotated[int, Field(ge=1, le=1000)] = 32
    environment_bytes: Annotated[Size, _bounded(256, 1 << 20, "0.25k to 1m")] = 4 << 10
    write_high: Annotated[Size, _bounded(64 << 10, 64 << 20, "64k to 64m")] = 1 << 20
    own_replies: Annotated[Size, _bounded(64 << 10, 64 << 20, "64k to 64m")] = 2 << 20
    deferred: Annotated[Size, _bounded(1 << 20, 64 << 20, "1m to 64m")] = 4 << 20
    rekeys_per_minute: Annotated[int, Field(ge=2, le=1000)] = 20
    rekey_stall: Annotated[Seconds, _bounded(2, 600, "2s to 10m")] = 30.0

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


class SshPenalties(_Model):
    """For how long a source is turned away for what it did before anybody was proven."""

    enabled: bool = True
    crash: _Price = 90.0
    violation: _Price = 10.0
    grace_exceeded: _Price = 10.0
    authfail: _Price = 3.0
    noauth: _Price = 1.0
    min: Annotated[Seconds, _bounded(1, 3600, "1s to 1h")] = 15.0
    max: Annotated[Seconds, _bounded(1, 86_400, "1s to 1d")] = 600.0
    sources: Annotated[int, Field(ge=64, le=65_536)] = 16_384
    overflow: Annotated[str, Field(pattern=r"^(permissive|deny)$")] = "permissive"
    exempt: Annotated[tuple[_Network, ...], Field(max_length=1000)] = ("127.0.0.0/8", "::1/128")

    @model_validator(mode="after")
    def _min_within_max(self) -> SshPenalties:
        if self.min <= self.max:
            return self
        if "max" in self.model_fields_set:
            key, told = "max", f"no less than min ({words.spoken(self.min)})"
        else:
            key, told = "min", f"at most max ({words.spoken(self.max)})"
        error = ValueError(f"allowed is {told}")
        details: InitErrorDetails = {
            "type": "value_error",
            "loc": (key,),
            "input": None,
            "ctx": {"error": error},
        }
        raise ValidationError.from_exception_data(type(self).__name__, [details])


# ---------------------------------------------------------------------------------------------


class SshConfig(_Model):
    """The SSH front door."""

    listen: Listen = Listen(host="0.0.0.0", port=2222)  # noqa: S104 - what users reach
    fast: bool = True
    """False keeps every packet on the library's own path: slower, for comparing."""
    doors: Annotated[int, Field(ge=1, le=64)] | None = None
    """Processes that carry what people send; none given: one for each core, at most 4."""
    patience: Annotated[Seconds, _bounded(1, 600, "1s to 10m")] = 30.0
    drain: Annotated[Seconds, _bounded(1, 7 * 86_400, "1s to 7d")] = 86_400.0
    limits: SshLimits = SshLimits()
    penalties: SshPenalties = SshPenalties()


class HttpConfig(_Model):
    """The HTTP port."""

    listen: Listen = Listen(host="127.0.0.1", port=8080)

    @field_validator("listen")
    @classmethod
    def _plain_on_loopback_alone(cls, listen: Listen) -> Listen:
        if not listen.loopback:
            raise ValueError(
                "allowed is a loopback address, 127.0.0.1 or ::1: this port speaks plain HTTP"
            )
        return listen


class EngineConfig(_Model):
    """Where the container engine is."""

    socket: str = "unix:///var/run/docker.sock"

    @field_validator("socket")
    @classmethod
    def _local(cls, socket: str) -> str:
        if not socket.startswith("unix:///"):
            raise ValueError("allowed is the engine's Unix socket: unix:///var/run/docker.sock")
        return socket


class NetworkConfig(_Model):
    """The bridge of the desktops."""

    pool: str = "10.213.0.0/16"
    """Each installation takes one /22 of it: a thousand addresses."""
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


class PoolsConfig(_Model):
    """What is leased: to a session, and uids to a desktop for life."""

    ports: PortRange = Pool(20000, 29999)
    displays: DisplayRange = Pool(1000, 9999)
    uids: UidRange = Pool(2_000_000_000, 2_000_099_999)


class StartsConfig(_Model):
    """How many desktops may start at once, and how long one may take."""

    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    waiting: Annotated[int, Field(ge=1, le=10_000)] = 64
    per_user: Annotated[int, Field(ge=1, le=64)] = 2
    timeout: Seconds = 90.0


class TemplateConfig(_Model):
    """What desktops are made from."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-zA-Z0-9._/:@-]{0,200}$")]
    memory: Size = 2 << 30
    cpus: Annotated[float, Field(ge=0.01, le=256)] = 2.0
    pids: Annotated[int, Field(ge=128, le=65536)] = 1024
    shm: Size = 256 << 20
    geometry: Annotated[str, Field(pattern=r"^[1-9]\d{2,3}x[1-9]\d{2,3}$")] = "1280x800"
    network: NetworkPolicy = NetworkPolicy.INTERNET

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
        )


class IdleConfig(_Model):
    """When desktops sleep."""

    freeze_after: Period = 3600.0
    stop_after: Period = 86_400.0
    archive_after: Period = None
    max_age: Period = None
    warn_before: Annotated[Seconds, _at_most(3600.0, "1h")] = 300.0
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


class LimitsConfig(_Model):
    """How much there may be, in all and of one user."""

    desktops_per_user: Annotated[int, Field(ge=1, le=1000)] = 5
    running: Annotated[int, Field(ge=1)] | None = None
    """Desktops that live at a time, frozen ones too; none given: as many as the pools hold."""
    running_per_user: Annotated[int, Field(ge=1, le=1000)] = 3


class Config(_Model):
    """The whole file."""

    state: Path = Path("/var/lib/desk")
    ssh: SshConfig = SshConfig()
    http: HttpConfig = HttpConfig()
    engine: EngineConfig = EngineConfig()
    network: NetworkConfig = NetworkConfig()
    pools: PoolsConfig = PoolsConfig()
    starts: StartsConfig = StartsConfig()
    limits: LimitsConfig = LimitsConfig()
    idle: IdleConfig = IdleConfig()
    template: TemplateConfig
    log: Annotated[str, Field(pattern=r"^(auto|json|console)$")] = "auto"

    @field_validator("state")
    @classmethod
    def _absolute(cls, state: Path) -> Path:
        if not state.is_absolute() or ".." in state.parts:
            raise ValueError("allowed is an absolute path without '..': /var/lib/desk")
        return state

    @property
    def database(self) -> Path:
        return self.state / "desk.db"

    @property
    def admin_socket(self) -> Path:
        return self.state / "admin.sock"


def load(path: Path) -> Config:
    """Read and check the file. Raises `ConfigError`: one sentence for each mistake, one a line."""
    return parse(read(path), str(path))


def read(path: Path) -> str:
    """The file's text. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            public=f"{path}: there is no such file; name one with --config."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(public=f"{path}: cannot be read: {error}.") from error


def parse(text: str, source: str) -> Config:
    """Like `load`, from the text; `source` stands in the sentences for the file."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(public=f"{source}:{line}: this is no YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(public=f"{source}: this is no YAML: {error}.") from None
    if not isinstance(data, dict):
        raise ConfigError(public=f"{source}: a file of keys is wanted, beginning with 'template:'.")
    twice = [f"{source}:{line}: {key}: this key stands here twice." for line, key in _twice(node)]
    if twice:
        raise ConfigError(public="\n".join(twice))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        details = error.errors()
        inner = {detail["loc"][:-1] for detail in details}  # a list is not short for a wrong item
        sentences = [_sentence(d, node, source) for d in details if d["loc"] not in inner]
        raise ConfigError(public="\n".join(sentences)) from None


#: What pydantic says in words of its own, said in those of a file.
_RULES = {
    "tuple_type": "allowed is a list",
    "too_short": "allowed is a list of one at least",
    "path_type": "allowed is a path",
    "string_type": "allowed is text, in quotes where YAML means something else by it",
}


def _sentence(detail: Any, node: yaml.Node | None, source: str) -> str:
    """One mistake as `FILE:LINE: KEY: found …; allowed …`."""
    location = [part for part in detail["loc"] if isinstance(part, (str, int))]
    line, path, place = _place(node, location)
    where = f"{source}:{line}: {'.'.join(str(part) for part in path)}"
    match detail["type"]:
        case "extra_forbidden":
            allowed = ", ".join(sorted(_keys(location[:-1])))
            return f"{where}: this key is unknown; allowed are {allowed}."
        case "missing":
            return f"{source}:{line}: the key '{'.'.join(map(str, location))}' is missing."
        case "string_pattern_mismatch":
            rule = f"allowed is what matches {detail['ctx']['pattern']}"
        case "value_error":
            rule = str(detail["ctx"]["error"])
        case "model_type":
            rule = f"allowed are the keys {', '.join(sorted(_keys(location)))}"
        case kind:
            rule = _RULES.get(kind) or detail["msg"][0].lower() + detail["msg"][1:]
    found = place.value if isinstance(place, yaml.ScalarNode) else detail["input"]
    return f"{where}: found {shown(str(found))}; {rule}."


def _twice(root: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line and name of each key that a mapping has already: YAML would let the last one win."""
    mappings, walked = [root], set()
    while mappings:
        node = mappings.pop()
        if not isinstance(node, yaml.MappingNode) or id(node) in walked:
            continue  # an alias can lead back to where it stands
        walked.add(id(node))
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, shown(key.value)
            seen.add(key.value)
            mappings.append(value)


def _place(
    node: yaml.Node | None, location: list[str | int]
) -> tuple[int, list[str | int], yaml.Node | None]:
    """The line of the deepest part of `location` that the file has, the path to it, and it."""
    line, path = (node.start_mark.line + 1 if node else 1), []
    for part in location:
        step = _child(node, part)
        if step is None:
            break
        line, node = step
        path.append(part)
    return line, path or location[:1], node


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    return None


def _keys(location: list[str | int]) -> set[str]:
    """The keys that the model at `location` knows."""
    model: type[BaseModel] = Config
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return set(model.model_fields)
