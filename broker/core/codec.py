"""Frozen dataclasses as JSON text, and back.

What may stand in a text is what the dataclass says: a field that is unknown, missing or of another
type is an error. Where one of several classes may stand, `is` names it.
"""

from __future__ import annotations

import base64
import json
import math
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from broker.core.idle import Signal
from broker.core.model import shown

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Names that a module of dataclasses imports for its annotations alone.
_NAMES = {"Mapping": Mapping, "Signal": Signal}

#: Above this a whole number in JSON need not be what was meant.
_LARGEST = (1 << 53) - 1


class BadMessage(ValueError):
    """What came is no message. Tells where, and nothing of the values: one can be a secret."""


class Codec(Generic[T]):
    """Reads and writes values of one type: a dataclass, or one of several."""

    def __init__(self, kind: Any) -> None:
        """`kind` is T: as a union it is no type that one could pass."""
        self._pack = _packer(kind)
        self._unpack = _unpacker(kind)

    def write(self, value: T) -> str:
        """In ASCII: what a client said need not be valid Unicode."""
        return json.dumps(self._pack(value), separators=(",", ":"))

    def read(self, text: str) -> T:
        """Raises `BadMessage`."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise BadMessage("it is no JSON") from None
        value: T = self._unpack(data)
        return value


def _parts(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, localns=_NAMES)


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in {Union, types.UnionType}


@cache
def _packer(kind: Any) -> Callable[[Any], Any]:
    """What makes JSON of values of that type."""
    if kind is bytes:
        return lambda value: base64.b64encode(value).decode("ascii")
    if _is_class(kind):
        parts = [(name, _packer(part)) for name, part in _parts(kind).items()]
        return lambda value: {name: pack(getattr(value, name)) for name, pack in parts}
    if get_origin(kind) is tuple:
        each = _packer(get_args(kind)[0])
        return lambda value: [each(item) for item in value]
    if get_origin(kind) is Mapping:
        of = _packer(get_args(kind)[1])
        return lambda value: {str(name): of(item) for name, item in value.items()}
    if _is_union(kind):
        return _pack_one_of
    return lambda value: value


def _pack_one_of(value: Any) -> Any:
    kind: Any = type(value)
    if not _is_class(kind):
        return value
    return {"is": kind.__name__, **_packer(kind)(value)}


@cache
def _unpacker(kind: Any) -> Callable[[Any], Any]:
    """What makes values of that type from JSON, or raises `BadMessage`."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if _is_class(kind):
        return _unpack_fields(kind)
    if get_origin(kind) is tuple:
        return _unpack_items(_unpacker(get_args(kind)[0]))
    if get_origin(kind) is Mapping:
        return _unpack_mapping(*(_unpacker(part) for part in get_args(kind)))
    if _is_union(kind):
        return _unpack_one_of(get_args(kind))
    assert issubclass(kind, StrEnum), kind
    return _unpack_name(kind)


def _unpack_fields(kind: type[Any]) -> Callable[[Any], Any]:
    parts = {name: _unpacker(part) for name, part in _parts(kind).items()}

    def unpack(data: Any) -> Any:
        if type(data) is not dict:
            raise BadMessage(f"{kind.__name__} is wanted")
        if data.keys() != parts.keys():
            raise BadMessage(f"{kind.__name__} {_difference(data.keys(), parts.keys())}")
        try:
            return kind(**{name: part(data[name]) for name, part in parts.items()})
        except BadMessage as error:
            raise BadMessage(f"in {kind.__name__}: {error}") from None

    return unpack


def _difference(found: Any, wanted: Any) -> str:
    unknown = sorted(found - wanted)
    if unknown:
        return f"has no {shown(unknown[0])}"
    return f"lacks '{min(wanted - found)}'"


def _unpack_items(each: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def unpack(data: Any) -> Any:
        if type(data) is not list:
            raise BadMessage("a list is wanted")
        return tuple([each(item) for item in data])

    return unpack


def _unpack_mapping(
    names: Callable[[Any], Any], values: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    def unpack(data: Any) -> Any:
        if type(data) is not dict:
            raise BadMessage("a mapping is wanted")
        return {names(name): values(value) for name, value in data.items()}

    return unpack


def _unpack_one_of(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    classes = {kind.__name__: _unpacker(kind) for kind in kinds if _is_class(kind)}
    others = [_unpacker(kind) for kind in kinds if not _is_class(kind)]

    def unpack(data: Any) -> Any:
        if type(data) is dict and classes:
            name = data.pop("is", None)
            if type(name) is not str or name not in classes:
                raise BadMessage(f"{shown(str(name))} is unknown")
            return classes[name](data)
        for plain in others:
            with suppress(BadMessage):
                return plain(data)
        raise BadMessage("something else is wanted")

    return unpack


def _unpack_name(kind: type[StrEnum]) -> Callable[[Any], Any]:
    names = {member.value: member for member in kind}

    def unpack(data: Any) -> Any:
        if type(data) is not str or data not in names:
            raise BadMessage(f"one of {', '.join(names)} is wanted")
        return names[data]

    return unpack


def _text(data: Any) -> str:
    if type(data) is not str:
        raise BadMessage("text is wanted")
    return data


def _flag(data: Any) -> bool:
    if type(data) is not bool:
        raise BadMessage("true or false is wanted")
    return data


def _whole(data: Any) -> int:
    if type(data) is not int or not -_LARGEST <= data <= _LARGEST:
        raise BadMessage("a whole number is wanted")
    return data


def _number(data: Any) -> float:
    if type(data) is int:
        data = float(_whole(data))
    if type(data) is not float or not math.isfinite(data):
        raise BadMessage("a number is wanted")
    return data


def _nothing(data: Any) -> None:
    if data is not None:
        raise BadMessage("nothing is wanted")


def _bytes(data: Any) -> bytes:
    text = _text(data)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadMessage("base64 is wanted") from None


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    bool: _flag,
    int: _whole,
    float: _number,
    bytes: _bytes,
    types.NoneType: _nothing,
}
