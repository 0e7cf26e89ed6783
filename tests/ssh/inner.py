"""A real sshd of an ordinary account, in namespaces of its own: no account is made, no child outlives it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from tests.ports import free_port
from tests.scratch import new_directory

from .clients import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UID = 23456
ACCOUNT = "desk"
SSHD = "/usr/sbin/sshd"

_PROGRAMS = (SSHD, "unshare", "setpriv", "ssh", "sftp", "scp", "ssh-agent", "dbclient")
_PROGRAMS += ("plink", "psftp", "puttygen", "rsync", "git", "Xvfb", "xauth", "xdpyinfo", "ps")
_PROGRAMS += ("curl", "mosh", "openssl", "pscp", "sshfs")
_PACKAGES = ("openssh-server", "openssh-client", "dropbear-bin", "putty-tools", "rsync", "git")
_PACKAGES += ("xvfb", "xauth", "x11-utils", "procps", "util-linux")
_PACKAGES += ("curl", "mosh", "openssl", "sshfs")

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
AddressFamily inet
HostKey {base}/host
AuthorizedKeysFile {base}/authorized
UsePAM no
StrictModes no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
X11Forwarding yes
StreamLocalBindUnlink yes
GatewayPorts clientspecified
ClientAliveInterval 0
AcceptEnv LANG LC_* TZ COLORTERM FOO
MaxSessions 100
MaxStartups 500:30:1000
Subsystem sftp internal-sftp
SetEnv PATH={base}/bin:/usr/bin:/bin
PrintMotd no
PrintLastLog no
"""

# What a display's number in a command is for: no xpra is needed to see bytes pass.
_XPRA = """\
#!/bin/sh
case "$1" in _proxy*) exec cat ;; esac
"""

_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
desk:x:{uid}:{uid}:desk:{home}:/bin/bash
"""

_GROUP = """\
root:x:0:
tty:x:5:
nogroup:x:65534:
desk:x:{uid}:
"""

_NAMESPACES = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "-f", "--mount-proc"]

# Its own /tmp, so that agents' sockets go with it; its own pts, so that the account owns its ttys.
_SCRIPT = """\
set -e
mount --bind "$BASE" /mnt
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$BASE"
mount --move /mnt "$BASE"
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
mount --bind "$BASE/passwd" /etc/passwd
mount --bind "$BASE/group" /etc/group
exec setpriv --pdeathsig KILL --reuid "$ACCOUNT" --regid "$ACCOUNT" --clear-groups \
    env -i PATH=/usr/sbin:/usr/bin:/bin HOME="$BASE/home" "$SSHD" -D -e -f "$BASE/sshd_config"
"""


class InnerSshd:
    """What stands in for the sshd in a user's container; `home` is the account's, `base` both see."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("these tests need root: they make namespaces for the inner sshd")
        missing = [program for program in _PROGRAMS if shutil.which(program) is None]
        if missing:
            raise RuntimeError(
                f"these tests need {', '.join(missing)}: apt install {' '.join(_PACKAGES)}"
            )
        self.base = new_directory()
        self.base.chmod(0o755)
        self.home = self.base / "home"
        self.home.mkdir()
        os.chown(self.home, UID, UID)
        (self.home / ".inputrc").write_text("set enable-bracketed-paste off\n")
        (self.base / "bin").mkdir()
        (self.base / "bin").chmod(0o755)
        self._write("bin/xpra", _XPRA, 0o755)
        self.shared = self.base / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o777)
        host = asyncssh.generate_private_key("ssh-ed25519")
        client = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = host.export_public_key().decode().strip()
        self.client_key = client.export_private_key().decode()
        self._write("host", host.export_private_key().decode(), 0o600)
        os.chown(self.base / "host", UID, UID)
        self._write("authorized", client.export_public_key().decode())
        self._write("passwd", _PASSWD.format(uid=UID, home=self.home))
        self._write("group", _GROUP.format(uid=UID))
        self.log = self.base / "sshd.log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        (self.base / name).write_text(text)
        (self.base / name).chmod(mode)

    def start(self, more: str = "") -> None:
        """Bring it up on a free port, with `more` in its configuration; another try when somebody
        was quicker with the port.
        """
        for _ in range(5):
            self.port = free_port()
            self._write("sshd_config", _CONFIG.format(port=self.port, base=self.base) + more)
            if _knows_penalties(self.base / "sshd_config"):
                with (self.base / "sshd_config").open("a") as config:
                    config.write("PerSourcePenalties no\n")
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*_NAMESPACES, "sh", "-c", _SCRIPT],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={
                        "PATH": os.environ["PATH"],
                        "BASE": str(self.base),
                        "ACCOUNT": str(UID),
                        "SSHD": SSHD,
                    },
                )
            until(self._decided, 15, "the inner sshd listens")
            if self._process.poll() is None:
                return
            self._process.wait()
        raise RuntimeError(f"the inner sshd does not start: {self.log.read_text()}")

    def _decided(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or (
            f"Server listening on 127.0.0.1 port {self.port}" in self.log.read_text()
        )

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Callable[[], None]]:
        """The listener stands still until the end, or until what is given is called."""
        listener = self._listener()
        os.kill(listener, signal.SIGSTOP)
        try:
            yield lambda: os.kill(listener, signal.SIGCONT)
        finally:
            os.kill(listener, signal.SIGCONT)

    def _listener(self) -> int:
        """Its process: the one of our namespaces that reads our configuration."""
        config = str(self.base / "sshd_config").encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").split()
                if config in words and b"unshare" not in words:
                    return int(folder.name)
        raise RuntimeError("the inner sshd is not running")

    def logins(self, ports: list[int]) -> int:
        """How many of the connections from these ports have authenticated."""
        told = re.findall(r"Accepted publickey for desk from \S+ port (\d+)", self.log.read_text())
        return len({int(port) for port in told} & set(ports))

    def stop(self) -> None:
        """Kill it: the end of its process namespace ends every child, wherever it hid."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
        shutil.rmtree(self.base, ignore_errors=True)


def _knows_penalties(config: Path) -> bool:
    """Whether this sshd has the option that would shut out a loopback of many short connections."""
    check = [SSHD, "-t", "-f", str(config), "-o", "PerSourcePenalties=no"]
    found = subprocess.run(check, capture_output=True, check=False)
    return b"PerSourcePenalties" not in found.stderr
