"""Directories of a test's own outside pytest's, and the end of those that a killed run left."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

#: A path that a Unix socket has room behind; and one in memory, where no commit waits for the disk.
SHORT, MEMORY = Path("/tmp"), Path("/dev/shm")

_NAME = re.compile(r"desk-test-(\d+)-\w+")


def new_directory(*, memory: bool = False) -> Path:
    """A directory with a short path, in memory where that is asked for and the host has it; for the
    caller to remove.
    """
    place = MEMORY if memory and os.access(MEMORY, os.W_OK) else SHORT
    return Path(tempfile.mkdtemp(prefix=f"desk-test-{os.getpid()}-", dir=place))


def sweep() -> None:
    """Remove those whose process is no more."""
    for place in (SHORT, MEMORY):
        for path in place.glob("desk-test-*"):
            named = _NAME.fullmatch(path.name)
            if named and not Path("/proc", named[1]).exists():
                shutil.rmtree(path, ignore_errors=True)
