"""The kinds of values that a file of keys has: durations, sizes, ranges, addresses, networks."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Annotated, Any

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
from broker.core.pools import Pool

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema, InitErrorDetails


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


def at_most(longest: float, written: str) -> AfterValidator:
    def check(seconds: float) -> float:
        if seconds > longest:
            raise ValueError(f"allowed is at most {written}")
        return seconds

    return AfterValidator(check)


def bounded(low: float, high: float, written: str) -> AfterValidator:
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


#: What editors hold against each kind of text, before anything reads the file.
DURATION = r"^\d+(\.\d+)?[smhdSMHD]$"
PERIOD = r"^(\d+(\.\d+)?[smhdSMHD]|never)$"
SIZE = r"^\d+(\.\d+)?[kmgtKMGT]$"
RANGE = r"^\d+-\d+$"
ADDRESS = r"^(\[[0-9a-fA-F:.]+\]|[0-9.]+):\d+$"


def _text(pattern: str) -> Any:
    return Annotated[str, Field(pattern=pattern)]


Seconds = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=_text(DURATION))]
Period = Annotated[float | None, BeforeValidator(_period, json_schema_input_type=_text(PERIOD))]
Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=_text(SIZE))]
_Range = BeforeValidator(_range, json_schema_input_type=_text(RANGE))
PortRange = Annotated[Pool, _Range, _within(1024, 65535)]
DisplayRange = Annotated[Pool, _Range, _within(1000, 59999)]
UidRange = Annotated[Pool, _Range, _within(1000, 4_000_000_000)]
Network = Annotated[str, BeforeValidator(_whole_network)]
"""As `ADDRESS/BITS`."""


class Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )


class Listen(Model):
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

    @classmethod
    def __get_pydantic_json_schema__(
        cls,
        _core: CoreSchema,
        _handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": ADDRESS}

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback


def out_of_order(model: Model, low: str, high: str) -> ValidationError:
    """That the duration `low` of the model is more than its `high`: told of the key that the file
    has, for one of them can be a default.
    """
    if high in model.model_fields_set:
        key, told = high, f"no less than {low} ({words.spoken(getattr(model, low))})"
    else:
        key, told = low, f"at most {high} ({words.spoken(getattr(model, high))})"
    error = ValueError(f"allowed is {told}")
    details: InitErrorDetails = {
        "type": "value_error",
        "loc": (key,),
        "input": None,
        "ctx": {"error": error},
    }
    return ValidationError.from_exception_data(type(model).__name__, [details])


def at(model: Model, key: str, rule: str) -> ValidationError:
    """That the key of the model is wrong beside its others."""
    detail: InitErrorDetails = {
        "type": "value_error",
        "loc": (key,),
        "input": getattr(model, key),
        "ctx": {"error": ValueError(rule)},
    }
    return ValidationError.from_exception_data(type(model).__name__, [detail])


def is_loopback(host: str) -> bool:
    """Whether what goes to that host, named or numbered, stays on this one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
