"""What the desktops of a template may reach, as a value and in the words of the configuration."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: No desktop reaches these, whatever its policy allows.
NEVER = tuple(
    IPv4Network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)

#: Lines of one list: each is a rule that every packet may have to pass.
_MOST = 64

_RULE = "allowed is none, internet, full, or a list of what is reached"
_ITEM_RULE = (
    "allowed in the list are internet, names, and NETWORK [tcp|udp [PORTS]]:"
    " '10.66.0.0/24 tcp 443', '192.0.2.7', '10.66.0.9 udp 5000-5010'"
)
_TARGET = re.compile(r"(?P<network>\S+)(?: +(?P<protocol>tcp|udp)(?: +(?P<ports>\d+(?:-\d+)?))?)?")


@dataclass(frozen=True, slots=True)
class Target:
    """A network, or a part of what is offered there."""

    network: IPv4Network
    protocol: str | None = None
    """`tcp` or `udp`; None: whatever IP carries."""
    ports: tuple[int, int] | None = None
    """The first and the last; None: all. Only with a protocol."""

    def __str__(self) -> str:
        words = [str(self.network).removesuffix("/32")]
        if self.protocol is not None:
            words.append(self.protocol)
        if self.ports is not None:
            first, last = self.ports
            words.append(str(first) if first == last else f"{first}-{last}")
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    """What the desktops of a template reach; never their host, each other or `NEVER`."""

    everything: bool = False
    """Private networks and the host's neighbours as well."""
    internet: bool = False
    """Public addresses, but those in the host's own networks."""
    names: bool = False
    """The name servers, port 53 alone, wherever they are."""
    targets: tuple[Target, ...] = ()

    def __str__(self) -> str:
        """As the configuration says it."""
        for word, policy in _WORDS.items():
            if self == policy:
                return word
        listed = ["internet"] if self.internet else ["names"] if self.names else []
        return ", ".join([*listed, *map(str, self.targets)])

    @property
    def group(self) -> str | None:
        """A name for those who have it, the same in every process; None: they reach nothing."""
        word = str(self)
        if word == "none":
            return None
        if word in _WORDS:
            return word
        return f"listed_{hashlib.sha256(word.encode()).hexdigest()[:8]}"


NONE = NetworkPolicy()
INTERNET = NetworkPolicy(internet=True, names=True)
FULL = NetworkPolicy(everything=True, names=True)

_WORDS = {"none": NONE, "internet": INTERNET, "full": FULL}


def parse(value: object) -> NetworkPolicy:
    """From one word or a list of words. Raises `ValueError` with the rule that was broken."""
    if isinstance(value, str):
        if value not in _WORDS:
            raise ValueError(_RULE)
        return _WORDS[value]
    if not isinstance(value, list) or not value:
        raise ValueError(_RULE)
    if len(value) > _MOST:
        raise ValueError(f"allowed is a list of at most {_MOST}")
    internet = "internet" in value
    return NetworkPolicy(
        internet=internet,
        names=internet or "names" in value,
        targets=_targets(item for item in value if item not in ("internet", "names")),
    )


def _targets(items: Iterable[object]) -> tuple[Target, ...]:
    """Each once, in an order of their own: the same list in another order is the same policy."""
    return tuple(sorted({_target(item) for item in items}, key=str))


def _target(item: object) -> Target:
    match = _TARGET.fullmatch(item.strip()) if isinstance(item, str) else None
    if match is None:
        raise ValueError(f"of it, {item!r} is nothing to reach; {_ITEM_RULE}")
    network = _network(match["network"])
    if any(network.subnet_of(closed) for closed in NEVER):
        raise ValueError(f"of it, {item!r} can be opened to no desktop")
    return Target(network, match["protocol"], _ports(match["ports"], str(item)))


def _network(text: str) -> IPv4Network:
    try:
        whole = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError(f"of it, {text!r} is no IPv4 network; {_ITEM_RULE}") from None
    if "/" in text and str(whole.network_address) != text.partition("/")[0]:
        raise ValueError(
            f"of it, {text!r} is an address with the size of its network: write {whole}"
            f" for the network, or {text.partition('/')[0]} for the address"
        )
    return whole


def _ports(text: str | None, item: str) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    ports = int(first), int(last or first)
    if not 1 <= ports[0] <= ports[1] <= 65535:
        raise ValueError(f"of it, {item!r} has no ports within 1-65535, the lower one first")
    return ports
