"""nftables, by its own program: it alone knows the kernel's language on every release."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.core.errors import FirewallFailed
from broker.core.firewall import (
    GRANTED,
    Grant,
    Standing,
    frames,
    granting,
    removal,
    revoking,
    ruleset,
    table_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.core.firewall import Rules

#: Seconds that one run of the program may take; a table of a thousand desktops takes 0.02.
_LIMIT = 10.0

_BRIDGES_OPEN = (
    "this kernel can neither filter what crosses a bridge nor show it to the rules of IP"
    " (bridge-nf-call-iptables is not 1), so desktops can reach each other on their bridge"
)


class Nftables:
    """The packet filter of the network that this process is in."""

    def __init__(
        self,
        command: Sequence[str] = ("nft",),
        *,
        path: str | None = None,
        devices: Path = Path("/proc/self/net/dev"),
        bridged: Path = Path("/proc/sys/net/bridge/bridge-nf-call-iptables"),
    ) -> None:
        """`command` is the program and what stands before its own arguments; `path` is where it is
        looked for. `devices` lists the network's interfaces, and `bridged` holds 1 where the kernel
        shows IP's rules what crosses a bridge.
        """
        self._command = tuple(command)
        # The program lies where an ordinary login of Debian does not look.
        self._path = path or f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        self._devices = devices
        self._bridged = bridged

    async def put(self, rules: Rules) -> str | None:
        missing = [bridge for bridge in rules.bridges if bridge not in set(self._interfaces())]
        if missing:
            raise FirewallFailed(
                f"the bridge {missing[0]} is not in the network that the broker runs in"
            )
        text = ruleset(rules)
        await self._run("-c", "-f", "-", text=text)
        for form in frames(rules):
            try:
                await self._run("-c", "-f", "-", text=form)
            except FirewallFailed:
                continue
            await self._run("-f", "-", text=text + form)
            return None
        await self._run("-f", "-", text=text)
        return None if self._bridges_are_shown() else _BRIDGES_OPEN

    async def standing(self, instance: str) -> Standing | None:
        main = await self._listing("inet", instance)
        if main is None:
            return None
        below = await self._listing("bridge", instance)
        marked = [_without_grants(item) for item in main] + (below or [])
        text = json.dumps(marked, sort_keys=True)
        return Standing(hashlib.sha256(text.encode()).hexdigest(), frozenset(_grants(main)))

    async def grant(self, instance: str, grant: Grant) -> None:
        await self._run("-f", "-", text=granting(instance, grant))

    async def revoke(self, instance: str, grant: Grant) -> None:
        await self._run("-f", "-", text=revoking(instance, grant))

    async def remove(self, instance: str) -> None:
        await self._run("-f", "-", text=removal(instance))

    async def _listing(self, family: str, instance: str) -> list[dict[str, Any]] | None:
        """A table's parts, counts left out; None when it is missing or not to be understood."""
        try:
            text = await self._run("-s", "-j", "list", "table", family, table_name(instance))
        except _Absent:
            return None
        try:
            return [_content(item) for item in json.loads(text)["nftables"]]
        except (ValueError, LookupError, TypeError, AttributeError):
            return None  # some releases write no JSON of a table that somebody gave flags

    async def _run(self, *arguments: str, text: str = "") -> str:
        """What the program prints. Raises `FirewallFailed`, `_Absent` among them."""
        program = shutil.which(self._command[0], path=self._path)
        if program is None:
            raise FirewallFailed("the program nft is not installed (package nftables)")
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *self._command[1:],
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": self._path, "LC_ALL": "C"},
            )
        except OSError as error:
            raise FirewallFailed(f"nft could not be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(_LIMIT):
                told, complaint = await process.communicate(text.encode())
        except TimeoutError:
            raise FirewallFailed(f"nft did not end within {_LIMIT:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise _translated(complaint.decode(errors="replace"))
        return told.decode(errors="replace")

    def _interfaces(self) -> Iterator[str]:
        for line in self._devices.read_text(encoding="ascii").splitlines()[2:]:
            yield line.partition(":")[0].strip()

    def _bridges_are_shown(self) -> bool:
        try:
            return self._bridged.read_text(encoding="ascii").strip() == "1"
        except OSError:
            return False


class _Absent(FirewallFailed):
    """What was named is not there; from `put`, what the kernel would need for it."""


def _translated(complaint: str) -> FirewallFailed:
    if "Operation not permitted" in complaint:
        return FirewallFailed(
            "the broker may not change the host's network rules, which takes root or CAP_NET_ADMIN"
        )
    first = next(iter(complaint.strip().splitlines()), "it did not say why").strip()
    kind = _Absent if "No such file or directory" in complaint else FirewallFailed
    return kind(f"nft failed: {first}")


#: What tells nothing of what a table does: the kernel's own numbers, which are others each time, and
#: a named counter's, which some releases print even where they are asked not to.
_PASSING = frozenset({"handle", "packets", "bytes"})


def _content(item: dict[str, Any]) -> dict[str, Any]:
    return {
        kind: {key: value for key, value in part.items() if key not in _PASSING}
        for kind, part in item.items()
    }


def _without_grants(item: dict[str, Any]) -> dict[str, Any]:
    if _group(item) is None:
        return item
    return {"set": {key: value for key, value in item["set"].items() if key != "elem"}}


def _grants(items: Sequence[dict[str, Any]]) -> Iterator[Grant]:
    for item in items:
        group = _group(item)
        if group is not None:
            yield from (Grant(IPv4Address(text), group) for text in item["set"].get("elem", ()))


def _group(item: dict[str, Any]) -> str | None:
    """Of the policy whose addresses the set holds; None for anything else."""
    name = str(item.get("set", {}).get("name", ""))
    return name.removeprefix(GRANTED) if name.startswith(GRANTED) else None
