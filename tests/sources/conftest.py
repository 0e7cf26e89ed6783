"""The directory that tests ask, and the authority that signed its certificate."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.sources import certificates


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return certificates.authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="session")
def pair(tmp_path_factory, authority):
    """What a server on loopback shows."""
    return certificates.signed(tmp_path_factory.mktemp("pair"), authority, "server")


@pytest.fixture(scope="session")
def slapd(pair):
    """A directory with `ada`, `bob` and a `nokey`."""
    pytest.importorskip("ldap", reason="python-ldap is not installed: pip install '.[ldap]'")
    from tests.sources.slapd import PROGRAM, Slapd, populate

    if PROGRAM is None:
        pytest.skip("slapd is not installed")
    # Where another user may go, and short enough for a socket.
    folder = Path(tempfile.mkdtemp(prefix="desk-slapd-"))
    try:
        directory = Slapd(folder, pair)
        populate(directory)
        yield directory
        directory.close()
    finally:
        shutil.rmtree(folder)
