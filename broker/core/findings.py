"""What a doctor finds: one thing that is not as it should be, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, in one line."""

    area: str
    """`records`, `homes`, `leases`, `network`, `engine`, `files`, `space`, `limits`, `schema`, ..."""
    found: str
    """A sentence without its full stop."""
    action: str
    """What mends it, in the imperative."""
    mends: bool
    """Whether `--fix` does that; else a person must."""
