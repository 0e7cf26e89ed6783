"""What the tests of the image alone have in common."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")


def output_of(command: list[str], *, seconds: float = 60, env: dict[str, str] | None = None) -> str:
    """What a command printed that must succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, env=env
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"
    return done.stdout.strip()


def eventually(look: Callable[[], Found], what: str, seconds: float = 30) -> Found:
    """The first true value of `look` within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {seconds} seconds")
