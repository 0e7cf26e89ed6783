"""Keys by the real ssh-keygen, and blobs by hand for what it makes with a device only."""

import base64
import hashlib
import subprocess
from pathlib import Path

from broker.core.sshdata import string

#: Arguments of ssh-keygen for each kind of key that it can make alone.
KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa-256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-521": ("-t", "ecdsa", "-b", "521"),
    "rsa-2048": ("-t", "rsa", "-b", "2048"),
    "rsa-3072": ("-t", "rsa", "-b", "3072"),
}


def keygen(*arguments: object, cwd: Path | None = None, fails: bool = False) -> str:
    """What ssh-keygen says; it must succeed unless it `fails`, when either may be."""
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert fails or done.returncode == 0, done.stderr
    return done.stdout


def made(folder: Path, name: str, kind: str = "ed25519", comment: str = "") -> Path:
    """The path of a new private key; its public one is beside it."""
    path = folder / name
    keygen("-q", *KINDS[kind], "-N", "", "-C", comment, "-f", path)
    return path


def public(path: Path) -> str:
    """The line of the public key beside a private one."""
    return path.with_name(path.name + ".pub").read_text().strip()


def blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])


def line(kind: str, data: bytes, comment: str = "") -> str:
    return f"{kind} {base64.b64encode(data).decode()} {comment}".rstrip()


def printed(path: Path) -> str:
    """The fingerprint as the real ssh-keygen has it."""
    return keygen("-l", "-f", path).split()[1]


def security_key(plain: bytes, application: bytes = b"ssh:") -> tuple[str, bytes]:
    """Type and blob of a security key with the numbers of a plain ed25519 or nistp256 one."""
    ed25519 = b"ssh-ed25519" in plain[:20]
    kind = "sk-ssh-ed25519@openssh.com" if ed25519 else "sk-ecdsa-sha2-nistp256@openssh.com"
    size = int.from_bytes(plain[:4], "big")
    return kind, string(kind.encode()) + plain[4 + size :] + string(application)


def counted(seed: str, count: int) -> bytes:
    """Bytes that look random and are the same each time."""
    return hashlib.shake_256(seed.encode()).digest(count)


def certified(ca: Path, key: Path, *arguments: object, sign: tuple[str, ...] = ()) -> str:
    """The base64 of a certificate of that key by that authority; `-n ada` unless told.

    `key` is a path of a key or of a public key; `sign` goes to how the authority signs.
    """
    plain = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    told = arguments if "-n" in arguments else ("-n", "ada", *arguments)
    identity = () if "-I" in arguments else ("-I", "a certificate")
    keygen("-q", "-s", ca, *sign, *identity, *[one for one in told if one != ""], plain)
    return plain.with_name(plain.stem + "-cert.pub").read_text().split()[1]
