"""The same certificates judged by a real sshd: what it turns away, Desk turns away."""

import os
import shutil
import subprocess

import pytest

from broker.core.publickeys import authority
from broker.service.certificates import Certificates, Verdict
from broker.service.revocations import Revocations
from broker.system.clock import SystemClock
from tests import sshkeys
from tests.ports import free_port
from tests.scratch import new_directory

from .inner import ACCOUNT, SSHD, UID

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {base}/host
AuthorizedKeysFile none
TrustedUserCAKeys {base}/authorities
RevokedKeys {base}/revoked
UsePAM no
StrictModes no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
"""

PASSWD = f"""\
root:x:0:0:root:/root:/bin/sh
{ACCOUNT}:x:{UID}:{UID}:desk:/:/bin/sh
"""

#: An account of a namespace of its own.
SCRIPT = """\
mount --bind "$1/passwd" /etc/passwd
exec setpriv --pdeathsig KILL --reuid "$2" --regid "$2" --clear-groups "$3" -d -e -f "$1/sshd_config"
"""


@pytest.fixture(scope="module")
def base():
    """A directory that the sshd's account can read."""
    base = new_directory()
    base.chmod(0o755)
    for name, kind in (
        ("host", "ed25519"),
        ("ca", "ed25519"),
        ("ca-rsa", "rsa-2048"),
        ("ca-ecdsa", "ecdsa-521"),
        ("stranger", "ed25519"),
        ("key", "ed25519"),
        ("key-rsa", "rsa-2048"),
    ):
        sshkeys.made(base, name, kind)
    trusted = [sshkeys.public(base / name) for name in ("ca", "ca-rsa", "ca-ecdsa")]
    (base / "authorities").write_text("\n".join(trusted) + "\n")
    (base / "specification").write_text("serial: 66\nid: lost\n")
    sshkeys.keygen(
        "-q", "-k", "-f", base / "revoked", "-s", base / "ca.pub", base / "specification"
    )
    (base / "revoked").chmod(0o644)
    os.chown(base / "host", UID, UID)
    (base / "passwd").write_text(PASSWD)
    yield base
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def certificates(base):
    return Certificates(
        authorities=[authority(line) for line in (base / "authorities").read_text().splitlines()],
        revocations=Revocations(base / "revoked"),
        clock=SystemClock(),
    )


@pytest.fixture
def sshd(base):
    """Serves one connection; its log tells what it thought."""
    port = free_port()
    (base / "sshd_config").write_text(CONFIG.format(port=port, base=base))
    daemon = subprocess.Popen(
        ["unshare", "-m", "sh", "-ec", SCRIPT, "-", base, str(UID), SSHD],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    for line in daemon.stderr:
        if "Server listening" in line:
            break
    yield port, daemon
    daemon.kill()
    daemon.communicate()


def let_in(base, sshd, key, certificate) -> bool:
    """Whether the real one takes it."""
    port, daemon = sshd
    kind = (base / f"{key}-cert.pub").read_text().split()[0]
    (base / "offered-cert.pub").write_text(f"{kind} {certificate}\n")
    options = {
        "CertificateFile": base / "offered-cert.pub",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
    }
    told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    subprocess.run(
        [
            "ssh",
            "-F",
            "none",
            "-i",
            base / key,
            *told,
            "-p",
            str(port),
            f"{ACCOUNT}@127.0.0.1",
            "true",
        ],
        capture_output=True,
        timeout=30,
    )
    daemon.kill()
    log = daemon.stderr.read()
    assert "publickey" in log
    return "Accepted publickey" in log


GOOD = ("-n", ACCOUNT, "-V", "-1d:+1d", "-z", "5")


@pytest.mark.parametrize(
    ("ca", "key", "arguments", "sign", "counts"),
    [
        ("ca", "key", GOOD, (), True),
        ("ca-ecdsa", "key", GOOD, (), True),
        ("ca-rsa", "key-rsa", GOOD, ("-t", "rsa-sha2-512"), True),
        ("ca-rsa", "key", GOOD, ("-t", "ssh-rsa"), False),
        ("stranger", "key", GOOD, (), False),
        ("ca", "key", ("-n", f"other,{ACCOUNT}", "-V", "always:forever"), (), True),
        ("ca", "key", ("-n", "other"), (), False),
        ("ca", "key", ("-n", ACCOUNT, "-V", "-2d:-1d"), (), False),
        ("ca", "key", ("-n", ACCOUNT, "-V", "+1d:+2d"), (), False),
        ("ca", "key", (*GOOD, "-O", "source-address=127.0.0.0/8"), (), True),
        ("ca", "key", (*GOOD, "-O", "source-address=192.0.2.0/24,::1/128"), (), False),
        ("ca", "key", (*GOOD, "-O", "critical:x@example.org=1"), (), False),
        ("ca", "key", (*GOOD, "-O", "verify-required"), (), None),
        ("ca", "key", (*GOOD, "-O", "force-command=true"), (), None),
        ("ca", "key", (*GOOD, "-O", "extension:x@example.org=1"), (), True),
        ("ca", "key", (*GOOD, "-O", "clear"), (), True),
        ("ca", "key", (*GOOD[:-1], "66"), (), False),
        ("ca-ecdsa", "key", (*GOOD[:-1], "66"), (), True),
        ("ca", "key", (*GOOD, "-I", "lost"), (), False),
    ],
)
async def test_desk_lets_in_whom_sshd_does(
    ca, key, arguments, sign, counts, base, certificates, sshd
):
    """But not by restrictions that it cannot keep (None): sshd keeps or skips those."""
    certificate = sshkeys.certified(base / ca, base / key, *arguments, sign=sign)
    verdict = await certificates.judge(certificate, user=ACCOUNT, address="127.0.0.1")
    assert isinstance(verdict, Verdict) is bool(counts)
    assert let_in(base, sshd, key, certificate) is (counts is not False)
