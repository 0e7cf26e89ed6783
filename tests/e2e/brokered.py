"""A container as a broker runs it, without the broker: for tests of what is inside."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.e2e.images import eventually, output_of
from tests.ports import free_port

UID = 200001
DISPLAY = 1000
LOCKDOWN = (
    "--user", f"{UID}:{UID}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--init",
    "--pids-limit", "1024", "--memory", "2g", "--cpus", "2", "--shm-size", "256m", "--log-driver", "local",
    "--tmpfs", "/tmp:mode=1777,size=512m,nosuid,nodev,exec", "--tmpfs", f"/run:mode=755,uid={UID},gid={UID},size=64m,nosuid,nodev,exec",
)  # fmt: skip
PASSWD = f"""\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
desk:x:{UID}:{UID}:Desk:/home/desk:/bin/bash
"""
GROUP = f"root:x:0:\nnogroup:x:65534:\ndesk:x:{UID}:\n"


@dataclass
class Brokered:
    """A container as a broker runs it, with the one key that opens it."""

    name: str
    port: int
    key: Path
    docker: Callable[..., str]
    greeted: float = 0.0
    """Seconds from its start to sshd's banner."""
    ready: float = 0.0
    """Seconds until the desktop answered."""

    def command(self, *arguments: str, program: str = "ssh") -> list[str]:
        """A client's command line, up to the host."""
        options = [
            "-F",
            "none",
            "-i",
            str(self.key),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ]
        options += [
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            f"Port={self.port}",
        ]
        return [program, *options, *arguments]

    def ssh(
        self, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One command by ssh; options may stand before it."""
        *options, command = arguments
        return subprocess.run(
            [*self.command(*options, "desk@127.0.0.1"), command], capture_output=True, text=True, timeout=90,
            check=False, env=env, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def says(self, command: str) -> str:
        """What a command that must succeed printed in the desktop."""
        done = self.ssh(command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def process(self, name: str) -> int:
        """The process that runs under this name now, or 0."""
        return int(self.ssh(f"pgrep -o -x {name}").stdout.strip() or 0)

    def windows(self) -> list[str]:
        """The names of the windows that the window manager keeps."""
        listed = re.findall(r"0x[0-9a-f]+", self.ssh("xprop -root _NET_CLIENT_LIST").stdout)
        names = [self.ssh(f"xprop -id {window} WM_NAME").stdout for window in listed]
        return [name.partition("=")[2].strip().strip('"') for name in names]


def banner(port: int) -> bytes:
    """What the server on that port says first; nothing where none says anything yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(64)
    except OSError:
        return b""


def write_mounts(directory: Path) -> dict[str, str]:
    """The files that a broker mounts, and where."""
    directory.mkdir(mode=0o700)
    for name in ("host_key", "client"):
        output_of(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name)]
        )
    (directory / "authorized_keys").write_text((directory / "client.pub").read_text())
    (directory / "passwd").write_text(PASSWD)
    (directory / "group").write_text(GROUP)
    targets = {
        "host_key": "/etc/desk/host_key",
        "authorized_keys": "/etc/desk/authorized_keys",
        "passwd": "/etc/passwd",
        "group": "/etc/group",
    }
    for name in targets:
        (directory / name).chmod(0o444)
    return targets


@contextmanager
def running(docker: Callable[..., str], image: str, directory: Path) -> Iterator[Brokered]:
    """A desktop that is ready, with a home volume of its own; both are gone afterwards."""
    name, port = f"desk-test-{uuid4().hex[:12]}", free_port()
    files = directory / "mounts"
    mounts = [f"-v={files / source}:{target}:ro" for source, target in write_mounts(files).items()]
    docker("volume", "create", "--label", "desk.test=1", name)
    try:
        owner = [
            "--user",
            "0",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CHOWN",
            "--network",
            "none",
            "--entrypoint",
            "chown",
        ]
        home = f"-v={name}:/home/desk:nocopy"
        docker(
            "run",
            "--rm",
            "--label",
            "desk.test=1",
            *owner,
            home,
            image,
            f"{UID}:{UID}",
            "/home/desk",
        )
        told = {
            "DESK_SESSION": "s1",
            "DESK_DISPLAY": f"{DISPLAY}",
            "DESK_GEOMETRY": "1280x800",
            "DESK_USER": "Ada L.",
        }
        settings = [f"-e={key}={value}" for key, value in told.items()]
        publish = f"-p=127.0.0.1:{port}:2222"
        labels = ["--name", name, "--hostname", "d7f3a9c2e5", "--label", "desk.test=1"]
        docker("create", *labels, *LOCKDOWN, publish, home, *mounts, *settings, image)
        started = time.monotonic()
        docker("start", name)
        eventually(lambda: banner(port).startswith(b"SSH-2.0-"), "sshd's banner")
        greeted = time.monotonic() - started
        container = Brokered(name, port, files / "client", docker)
        assert container.ssh("exec /usr/local/bin/desk-ready").returncode == 0
        container.greeted, container.ready = greeted, time.monotonic() - started
        yield container
    finally:
        docker("rm", "-f", name)
        docker("volume", "rm", name)
