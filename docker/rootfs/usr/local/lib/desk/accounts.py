"""What a container that stands alone makes for itself at its first start: a password and a host key."""

import os
import subprocess

from supervise import say

HOST_KEY = "/etc/desk/host_key"
PASSWORD_LENGTH = 16
# Without the letters and digits that are taken for one another.
ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"


def give_password(user: str) -> None:
    """Set and print a random password, once: after a restart the first one is still good."""
    if _has_password(user):
        return
    password = _random_password()
    subprocess.run(["/usr/sbin/chpasswd"], input=f"{user}:{password}\n", text=True, check=True)
    say(f"User: {user} Password: {password}")


def _has_password(user: str) -> bool:
    with open("/etc/shadow") as shadow:
        return any(line.startswith(f"{user}:$") for line in shadow)


def _random_password() -> str:
    fair = len(ALPHABET) * (256 // len(ALPHABET))
    letters = ""
    while len(letters) < PASSWORD_LENGTH:
        letters += "".join(ALPHABET[byte % len(ALPHABET)] for byte in os.urandom(64) if byte < fair)
    return letters[:PASSWORD_LENGTH]


def make_host_key() -> None:
    """One ed25519 key: the other kinds take a second to make, and no client needs them."""
    if not os.path.exists(HOST_KEY):
        command = [
            "/usr/bin/ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "desktop",
            "-f",
            HOST_KEY,
        ]
        subprocess.run(command, check=True)
