"""A home that nobody used for long goes into a file, and comes back whole at the next connect."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.e2e.desk import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_LIST = (
    r"cd && find . -mindepth 1 ! -path './.X*' ! -path './.cache*' ! -path './.dbus*'"
    r" -printf '%p %y %m %U %l\n' | grep -E 'work|\.bashrc|\.config$' | sort; sha256sum work/big"
)


def test_a_home_goes_into_the_archive_and_comes_back(new_desk):
    """With its files, modes and links; and the person in front of a terminal is told."""
    desk = new_desk(idle={"archive_after": "5s"})
    desk.start()
    ada = desk.person("ada")
    desk.ok(
        ada,
        "mkdir -p work/empty && cd work && head -c 30000000 /dev/urandom > big && ln -s ../.bashrc"
        " link && ln big same && chmod 600 big && touch 'ü \"x\"' && mkfifo pipe",
    )
    before = desk.ok(ada, _LIST)
    assert "./work/link l" in before
    (session,) = desk.listing("sessions")
    assert desk.deskctl("session", "stop", session["id"]).returncode == 0

    def archived():
        (desktop,) = desk.listing("desktops")
        return desktop if desktop["state"] == "archived" else None

    desktop = until(archived, within=60, what="the archiving")
    file = desk.state / "archive" / f"{desktop['id']}.tar.gz"
    assert file.stat().st_size == desktop["archive_size"] > 30_000_000
    until(lambda: desk.events("home archived"), what="the end of the archiving")
    with closing(desk.client()) as client:
        assert client.volumes.list(filters={"label": desk.label()}) == []
    assert "archived  " in desk.ok(ada, "desk status")
    desk.kill()
    desk.start()

    shell = desk.ssh(ada, None, "-tt", stdin=b"exit\n")
    assert b"Fetching your home from the archive" in shell.stderr + shell.stdout
    assert desk.ok(ada, _LIST) == before
    assert desk.deskctl("desktop", "ls").stdout.count("archived") == 0
