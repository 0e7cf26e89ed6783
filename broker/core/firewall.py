"""The rules that keep desktops off their host and off each other, as text for nftables.

Every installation has tables of its own, which judge what comes from its bridges and what goes to
them, and nothing else: several live on one host, and none can break another's.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, TypeAlias

from broker.core.netpolicy import NEVER
from broker.core.spec import bridge_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from broker.core.netpolicy import NetworkPolicy, Target

#: Not the internet.
_NONPUBLIC = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
    )
)

_INSTANCE = re.compile(r"[0-9a-f]{16}")

#: What the names of the sets that hold granted addresses begin with, one set for each policy.
GRANTED = "net_"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one desktop's address may reach: an address without one reaches nothing."""

    address: IPv4Address
    group: str
    """Of its policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Everything that an installation's tables are made from."""

    instance: str
    bridges: tuple[str, ...]
    subnets: tuple[IPv4Network, ...]
    """Of these bridges: what comes from one with another address is forged."""
    pool: IPv4Network
    """Where all installations have their subnets."""
    neighbours: tuple[IPv4Network, ...]
    """Networks that the host itself is in: on a public one, its neighbours look like internet."""
    resolvers: tuple[IPv4Address, ...]
    """Name servers, which may be where nothing else may be reached."""
    policies: frozenset[NetworkPolicy]
    """Those that addresses can be granted."""
    grants: frozenset[Grant] = frozenset()


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in place."""

    mark: str
    """Another one as soon as anything but the grants is another, whoever put it there."""
    grants: frozenset[Grant]


@dataclass(frozen=True, slots=True)
class Restored:
    """That what was put in place had to be put there again."""

    reason: str
    by: str | None
    """The program that undid it, with its process; None where nobody knows."""


#: Hears of what was put back, and of nothing now and then, as a sign of life.
Told: TypeAlias = "Callable[[Restored | None], Awaitable[None]]"


def difference(standing: Standing | None, mark: str, grants: frozenset[Grant]) -> str | None:
    """What somebody did to rules that had that mark and those grants; None: nothing."""
    if standing is None:
        return "the table was gone"
    if standing.mark != mark:
        return "its rules were changed"
    if standing.grants != grants:
        return "its addresses were changed"
    return None


def complaint(rules: Rules) -> str | None:
    """Why these are no rules that a broker puts in place, for whoever does it in its stead; None:
    they touch nothing but the tables, the bridge and the addresses of one installation.
    """
    if not _INSTANCE.fullmatch(rules.instance):
        return "the instance's name is none"
    if rules.bridges != (bridge_name(rules.instance),):
        return "the bridge is not the instance's own"
    if not rules.subnets or not all(network.is_private for network in (*rules.subnets, rules.pool)):
        return "the subnets are not private networks"
    groups = {policy.group for policy in rules.policies}
    for grant in rules.grants:
        if grant.group not in groups:
            return "a grant is of no policy that is there"
        if not any(grant.address in subnet for subnet in rules.subnets):
            return "a grant is for an address elsewhere"
    return None


def table_name(instance: str) -> str:
    """Of both tables, in nft's families `inet` and `bridge`."""
    return f"desk_{instance}"


def ruleset(rules: Rules) -> str:
    """The whole `inet` table, which takes the place of the one that is there."""
    name = table_name(rules.instance)
    groups = sorted((p.group, p) for p in rules.policies if p.group is not None)
    lines = [
        f"table inet {name}",
        f"delete table inet {name}",
        f"table inet {name} {{",
        *_set("never", "interval", _joined([*NEVER, rules.pool, *rules.subnets])),
        *_set("nonpublic", "interval", _joined([*_NONPUBLIC, *rules.neighbours])),
        *_set("resolvers", None, sorted(rules.resolvers)),
    ]
    for group, _ in groups:
        addresses = (grant.address for grant in rules.grants if grant.group == group)
        lines += _set(f"{GRANTED}{group}", None, sorted(addresses))
    body = _CHAINS.format(
        bridges=", ".join(f'"{bridge}"' for bridge in rules.bridges),
        subnets=", ".join(map(str, rules.subnets)),
    )
    for group, policy in groups:
        lines_of = "".join(f"\t\t{rule}\n" for rule in _allowed(policy))
        body += f"\tchain reach_{group} {{\n{lines_of}\t}}\n"
    judged = "".join(f"\t\tip saddr @{GRANTED}{group} goto reach_{group}\n" for group, _ in groups)
    body += f"\tchain from_tenant {{\n{judged}\t\tgoto refused\n\t}}\n}}\n"
    return "\n".join(lines) + body


def _allowed(policy: NetworkPolicy) -> Iterator[str]:
    """The rules for a packet of somebody who has the policy, the first that fits."""
    if policy.names:
        yield "ip daddr @resolvers meta l4proto { tcp, udp } th dport 53 accept"
    yield "ip daddr @never goto refused"
    yield from map(_open, policy.targets)
    if policy.everything:
        yield "accept"
        return
    if policy.internet:
        yield "ip daddr != @nonpublic accept"
    yield "goto refused"


def _open(target: Target) -> str:
    what = f"ip daddr {target.network}"
    if target.ports is not None:
        first, last = target.ports
        what += f" {target.protocol} dport {first}-{last}"
    elif target.protocol is not None:
        what += f" meta l4proto {target.protocol}"
    return f"{what} accept"


#: A drop here is final; an accept leaves the packet to everybody else's chains. What comes from a
#: desktop is never asked for its connection: a policy that is taken away cuts what was open by it.
#: Only an error message counts as related: what a helper of the host's expects is no answer.
_CHAINS = """
	counter spoofed {{ }}
	counter not_ipv4 {{ }}
	counter to_host {{ }}
	counter to_desktop {{ }}
	counter to_elsewhere {{ }}
	chain prerouting {{
		type filter hook prerouting priority raw - 10; policy accept;
		iifname {{ {bridges} }} meta nfproto != ipv4 counter name not_ipv4 drop
		iifname {{ {bridges} }} ip saddr != {{ {subnets} }} counter name spoofed drop
	}}
	chain input {{
		type filter hook input priority filter - 10; policy accept;
		iifname != {{ {bridges} }} accept
		ct state established accept
		ct state related meta l4proto icmp accept
		counter name to_host drop
	}}
	chain forward {{
		type filter hook forward priority filter - 10; policy accept;
		oifname {{ {bridges} }} goto into_tenant
		iifname {{ {bridges} }} goto from_tenant
	}}
	chain into_tenant {{
		ct state established accept
		ct state related meta l4proto icmp accept
		counter name to_desktop drop
	}}
	chain refused {{
		counter name to_elsewhere reject with icmpx type admin-prohibited
	}}
"""


def frames(rules: Rules) -> tuple[str, ...]:
    """The `bridge` table, which ends what desktops of one bridge send each other below IP's rules,
    and where the kernel shows those nothing of it. Several forms, the best first: not every kernel
    can tell a frame's bridge, but every one its ports and addresses.
    """
    by_bridge = [f'meta ibrname "{bridge}" drop' for bridge in rules.bridges]
    by_address = [
        f'iifname "veth*" oifname "veth*" {what} saddr {how}{subnet} {what} daddr {how}{subnet} drop'
        for subnet in rules.subnets
        for what, how in (("ip", ""), ("arp", "ip "))
    ]
    name = table_name(rules.instance)
    return tuple(
        _FRAMES.format(name=name, drops="\n\t\t".join(drops)) for drops in (by_bridge, by_address)
    )


_FRAMES = """\
table bridge {name}
delete table bridge {name}
table bridge {name} {{
	chain forward {{
		type filter hook forward priority -200; policy accept;
		{drops}
	}}
}}
"""


def granting(instance: str, grant: Grant) -> str:
    """Adds the grant, which may be there already."""
    return f"add element inet {_element(instance, grant)}\n"


def revoking(instance: str, grant: Grant) -> str:
    """Takes the grant away, which may be gone already: what is added first can be deleted."""
    element = _element(instance, grant)
    return f"add element inet {element}\ndelete element inet {element}\n"


def _element(instance: str, grant: Grant) -> str:
    return f"{table_name(instance)} {GRANTED}{grant.group} {{ {grant.address} }}"


def removal(instance: str) -> str:
    """Removes both tables, which need not be there."""
    name = table_name(instance)
    return "".join(
        f"table {family} {name}\ndelete table {family} {name}\n" for family in ("inet", "bridge")
    )


def _joined(networks: Iterable[IPv4Network]) -> list[IPv4Network]:
    """Without overlaps, which a set refuses."""
    return list(ipaddress.collapse_addresses(networks))


def _set(name: str, flags: str | None, elements: Iterable[object]) -> list[str]:
    listed = ", ".join(map(str, elements))
    return [
        f"\tset {name} {{",
        "\t\ttype ipv4_addr",
        *([f"\t\tflags {flags}"] if flags else []),
        *([f"\t\telements = {{ {listed} }}"] if listed else []),
        "\t}",
    ]
