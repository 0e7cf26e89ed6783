"""The packet filters that the contract is held against, each in a network of its own."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from broker.core.firewall import table_name
from broker.system import netlink
from broker.system.fakenft import FakeFilter
from broker.system.nft import Nftables

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Netns:
    """A network namespace, held by a process that does nothing."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "sh", "-c", "echo made; exec sleep 3600"]
        if os.geteuid() != 0:
            command[1:1] = ["--user", "--map-root-user"]
        self._holder = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        self.made = self._holder.stdout.readline() == "made\n"
        self.pid = self._holder.pid

    @property
    def entering(self) -> list[str]:
        """What stands before a command that runs in it."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.pid), "--net", *user]

    def run(self, *command: str, text: str = "") -> str:
        """What the command that must succeed printed in it."""
        done = self.tries(*command, text=text)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def tries(self, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.entering, *command], input=text, capture_output=True, text=True, timeout=60,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C"},
        )  # fmt: skip

    def bridge(self, *names: str) -> None:
        for name in names:
            self.run("ip", "link", "add", name, "type", "bridge")

    def filter(self) -> Nftables:
        return Nftables(
            [*self.entering, "nft"], devices=Path(f"/proc/{self.pid}/net/dev"), path=PATH
        )

    def changes(self) -> netlink.Changes:
        """What happens to its tables; a socket stays in the network in which it was made."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._changes_here).result()

    def _changes_here(self) -> netlink.Changes:
        with Path(f"/proc/{self.pid}/ns/net").open() as entrance:
            if ctypes.CDLL(None, use_errno=True).setns(entrance.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        return netlink.Changes()

    def close(self) -> None:
        self._holder.send_signal(signal.SIGKILL)
        self._holder.communicate()


@contextmanager
def netns() -> Iterator[Netns]:
    made = Netns()
    try:
        yield made
    finally:
        made.close()


@cache
def missing() -> str | None:
    """Why no test here can drive nftables in a network of its own; None where one can."""
    for program in ("nft", "ip", "unshare", "nsenter"):
        if shutil.which(program, path=PATH) is None:
            return f"{program} is not installed"
    with netns() as network:
        if not network.made:
            return "no network namespace can be made here"
        if network.tries("nft", "-f", "-", text="table inet probe\n").returncode:
            return "this kernel lets nobody here change a network's rules"
        if network.tries("ip", "link", "add", "probe", "type", "bridge").returncode:
            return "this kernel lets nobody here make a bridge"
    return None


class FakeHost:
    """A host in memory."""

    def __init__(self) -> None:
        self.filter = FakeFilter()
        self.changes = self.filter.changes

    def lose_bridge(self, name: str) -> None:
        self.filter.unseen.add(name)

    def flush(self) -> None:
        self.filter.flush()

    def meddle(self, instance: str) -> None:
        self.filter.meddle(instance)

    def lose(self, instance: str, grant) -> None:
        self.filter.lose(instance, grant)


class RealHost:
    """The kernel, in a network of its own."""

    def __init__(self, network: Netns, *bridges: str) -> None:
        network.bridge(*bridges)
        self.filter = network.filter()
        self.changes = network.changes
        self._network = network

    def lose_bridge(self, name: str) -> None:
        self._network.run("ip", "link", "del", name)

    def flush(self) -> None:
        self._network.run("nft", "flush", "ruleset")

    def meddle(self, instance: str) -> None:
        self._network.run("nft", "flush", "chain", "inet", table_name(instance), "input")

    def lose(self, instance: str, grant) -> None:
        element = ["net_internet", "{", str(grant.address), "}"]
        self._network.run("nft", "delete", "element", "inet", table_name(instance), *element)
