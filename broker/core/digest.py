"""What the state keeps of a secret that is long and random: enough to know it again."""

from __future__ import annotations

import hashlib


def hashed(secret: str) -> str:
    """Its SHA-256 in hex digits. What people choose for themselves needs more: see `Passwords`."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
