"""The peers: what people would use instead, brought up beside Desk on loopback."""

from __future__ import annotations

import getpass
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.e2e.desk import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
"""


@contextmanager
def host_sshd(directory: Path) -> Iterator[list[str]]:
    """An OpenSSH server on the host; gives the client's command line up to the host name."""
    directory.mkdir(parents=True)
    port = free_port()
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", directory / name], check=True
        )
    (directory / "sshd_config").write_text(
        _CONFIG.format(port=port, host=HOST, directory=directory)
    )
    (directory / "ssh_config").write_text(
        f"Host *\n  HostName {HOST}\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentityFile {directory}/key\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
    )
    subprocess.run(["mkdir", "-p", "/run/sshd"], check=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", directory / "sshd_config"])
    command = ["ssh", "-F", str(directory / "ssh_config"), "host"]
    try:
        deadline = time.monotonic() + 10
        while subprocess.run([*command, "true"], stdin=subprocess.DEVNULL).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError("the host's sshd does not answer")
            time.sleep(0.1)
        yield command
    finally:
        server.terminate()
        server.wait(10)
