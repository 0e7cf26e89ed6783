"""What holds for every test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer

    from tests.dealing import Dealing

# A deadline would judge the machine and not the code.
settings.register_profile("desk", deadline=None)
settings.load_profile("desk")


def pytest_sessionstart() -> None:
    """Once for all workers, for they are no run of their own."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        scratch.sweep()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """As the workers have them, they are dealt out."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        from tests.dealing import turn

        items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Dealing | None:
    if config.getvalue("dist") != "loadscope":
        return None
    from tests.dealing import Dealing

    return Dealing(config, log)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Commands that run in the test's own process narrow it, and would leave it so."""
    before = os.umask(0o022)
    yield
    os.umask(before)
