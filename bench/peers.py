"""The peers: what people would use instead, brought up beside Desk on loopback."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.desk import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The door's first choice, for every way: what OpenSSH itself would choose costs its peers more.
_CIPHER = "aes128-gcm@openssh.com"
SAME_CIPHER = ("-o", f"Ciphers={_CIPHER}")

_CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/key.pub
StrictModes no
PidFile none
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
SetEnv HOME={directory}/home
{more}
"""


class Unavailable(Exception):
    """A peer cannot be had on this machine; the sentence says why."""


class Clients:
    """One configuration of the stock client, with a host for each way that it can go."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "ssh_config"
        self._path.write_text("")

    def add(
        self,
        name: str,
        *,
        port: int,
        user: str,
        key: Path,
        host: str = HOST,
        jump: str | None = None,
        cipher: str | None = _CIPHER,
    ) -> list[str]:
        """The command line up to the host's name; with no cipher, the client chooses."""
        ciphers = () if cipher is None else (f"Ciphers {cipher}",)
        lines = [f"Host {name}", f"HostName {host}", f"Port {port}", f"User {user}"]
        lines += [f"IdentityFile {key}", "IdentitiesOnly yes", "IdentityAgent none"]
        lines += ["StrictHostKeyChecking no", "UserKnownHostsFile /dev/null", "LogLevel ERROR"]
        lines += ["BatchMode yes", "GlobalKnownHostsFile /dev/null", *ciphers]
        if jump is not None:
            lines.append(f"ProxyJump {jump}")
        with self._path.open("a") as file:
            file.write("\n  ".join(lines) + "\n")
        return ["ssh", "-F", str(self._path), name]


@dataclass(frozen=True)
class HostSshd:
    """An OpenSSH server on the host, run by whoever measures."""

    port: int
    user: str
    key: Path

    def command(self, clients: Clients, name: str = "host") -> list[str]:
        return clients.add(name, port=self.port, user=self.user, key=self.key)


@contextmanager
def host_sshd(directory: Path, more: str = "") -> Iterator[HostSshd]:
    """With stock settings but for what it takes to live beside others, and `more`. Its shells have an
    empty home: what somebody's own `.bashrc` costs is no cost of OpenSSH.
    """
    (directory / "home").mkdir(parents=True)
    port = free_port()
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", directory / name], check=True
        )
    (directory / "sshd_config").write_text(
        _CONFIG.format(port=port, host=HOST, directory=directory, more=more)
    )
    subprocess.run(["mkdir", "-p", "/run/sshd"], check=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", directory / "sshd_config"])
    sshd = HostSshd(port, getpass.getuser(), directory / "key")
    try:
        await_login(sshd.command(Clients(directory)))
        yield sshd
    finally:
        server.terminate()
        server.wait(10)


def await_login(command: list[str]) -> None:
    deadline = time.monotonic() + 10
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    while subprocess.run([*command, "true"], **quiet).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"there is no answer to {' '.join(command)}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Relay:
    port: int
    pid: int


def compiled_relay(directory: Path) -> Path:
    """The relay in C, made here. Raises `Unavailable`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("no C compiler is here: the C relay is left out.")
    program = directory / "relay"
    source = Path(__file__).with_name("relay.c")
    done = subprocess.run(
        [compiler, "-O2", "-o", program, source, "-lcrypto"], capture_output=True, text=True
    )
    if done.returncode:
        raise Unavailable("the C relay does not compile (install libssl-dev): it is left out.")
    return program


@contextmanager
def relay(program: Path, host: str, port: int) -> Iterator[Relay]:
    """Up to that sshd, from a port of its own."""
    process = subprocess.Popen(
        [program, host, str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Relay(int(process.stdout.readline()), process.pid)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
