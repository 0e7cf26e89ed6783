"""What others wrote, made fit for a log line."""

from __future__ import annotations


def shown(text: str, most: int) -> str:
    """Safe to print, and short."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])
