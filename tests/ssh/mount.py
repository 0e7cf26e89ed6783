"""A folder of a desktop's, mounted here by sshfs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .clients import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def mounted(config: Path, folder: str, *options: str, env: Mapping[str, str]) -> Iterator[Path]:
    """By `ssh -F config desk`. Whatever becomes of sshfs, no mount is left behind."""
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse here: sshfs cannot mount")
    point = Path(tempfile.mkdtemp(prefix="desk-mount-", dir="/tmp"))
    try:
        mount = ["sshfs", "-F", str(config), *options, f"desk:{folder}", str(point)]
        done = subprocess.run(mount, check=False, capture_output=True, timeout=30, env=env)
        assert done.returncode == 0, done.stderr
        yield point
    finally:
        # Lazily, for one whose sshfs died is in nobody's way then either.
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False, capture_output=True)
        until(lambda: not os.path.ismount(point), 10, "the end of the mount")
        point.rmdir()
