"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A deadline would judge the machine and not the code.
settings.register_profile("desk", deadline=None)
settings.load_profile("desk")


@pytest.fixture(autouse=True)
def umask():
    """Commands that run in the test's own process narrow it, and would leave it so."""
    before = os.umask(0o022)
    yield
    os.umask(before)
