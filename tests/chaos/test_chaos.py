"""The shortest form of `make chaos`: a death of the broker, one of both, and one of everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import cell

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine of one's own needs root"),
]


@pytest.mark.parametrize("how", [("--rounds", "2"), ("--rounds", "1", "--no-live-restore")])
def test_nothing_is_lost(how):
    """Each round tells what it found; none fails, and the cell leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *how],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("good") == int(how[1])
    assert cell.remains() == []
