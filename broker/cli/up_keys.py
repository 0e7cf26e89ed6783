"""The caller's public keys: those that OpenSSH offers by itself, or a pair that is made."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import asyncssh

from broker.cli.up_place import give

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.cli.up_place import Caller, Place

#: What ssh tries when it is told nothing, of the types that are still any good.
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")

_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def of_caller(caller: Caller) -> list[str]:
    """Each key once, as `TYPE BASE64 COMMENT`."""
    found: dict[str, str] = {}
    for line in (*_in_files(caller.home / ".ssh"), *_in_agent()):
        words = line.split(None, 2)
        if len(words) >= 2 and words[0] in _TYPES and _is_base64(words[1]):
            found.setdefault(words[1], " ".join(words))
    return list(found.values())


def _in_files(directory: Path) -> Iterator[str]:
    for name in _DEFAULT_KEYS:
        public = directory / f"{name}.pub"
        # ssh offers a key whose private half is there.
        try:
            if (directory / name).exists():
                yield public.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue


def _in_agent() -> list[str]:
    if not os.environ.get("SSH_AUTH_SOCK") or not shutil.which("ssh-add"):
        return []
    try:
        told = subprocess.run(
            ["ssh-add", "-L"],  # noqa: S607 - the caller's own ssh
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return told.stdout.splitlines() if told.returncode == 0 else []


def _is_base64(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) > 20
    except binascii.Error:
        return False


def made_pair(place: Place) -> str:
    """The public half of the pair beside the state, which is made when it is not there."""
    private, public = place.key_pair, place.key_pair.with_suffix(".pub")
    if not (private.exists() and public.exists()):
        key = asyncssh.generate_private_key("ssh-ed25519", comment=f"desk of {place.caller.user}")
        give(private, key.export_private_key().decode(), mode=0o600, caller=place.caller)
        give(public, key.export_public_key().decode(), mode=0o644, caller=place.caller)
    return public.read_text(encoding="utf-8").strip()


def fingerprint(public: str) -> str:
    """As OpenSSH prints it."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
