"""Lines for stock clients."""

from __future__ import annotations

from broker.service.lines import Entrance

HERE = Entrance.of(url=None, host="lab", port=2222)


def test_the_default_desktop_needs_no_name():
    assert HERE.lines("main", "d1", 1000) == {
        "shell": "ssh -p 2222 desk@lab",
        "files": "sftp -P 2222 desk@lab",
        "window": "xpra attach ssh://desk@lab:2222/",
        "vscode": "code --remote ssh-remote+desk /home/desk",
    }
    assert HERE.block("main").splitlines() == [
        "Host desk",
        "    HostName lab",
        "    Port 2222",
        "    User desk",
    ]


def test_another_one_is_named_and_its_display_leads_a_viewer_there():
    """While it has none, its name does."""
    assert HERE.lines("art", "d2", 1001)["window"] == "xpra attach ssh://desk@lab:2222/1001"
    assert HERE.lines("art", "d2", None)["window"] == "xpra attach ssh://desk+art@lab:2222/"
    assert HERE.lines("art", "d2", 1001)["shell"] == "ssh -p 2222 desk+art@lab"
    assert HERE.block("art").startswith("Host desk-art\n")


def test_the_name_that_browsers_use_is_the_host():
    """With the standard port nothing is said of ports but to xpra, whose own default is another."""
    here = Entrance.of(url="https://desk.example", host="box7", port=22)
    assert here.lines("main", "d1", None) == {
        "shell": "ssh desk@desk.example",
        "files": "sftp desk@desk.example",
        "window": "xpra attach ssh://desk@desk.example:22/",
        "vscode": "code --remote ssh-remote+desk /home/desk",
        "browser": "https://desk.example/desktop/d1",
    }


def test_an_address_of_ipv6_has_brackets_where_a_colon_would_end_it():
    here = Entrance.of(url="https://[2001:db8::1]:8443", host="x", port=2222)
    lines = here.lines("main", "d1", None)
    assert lines["shell"] == "ssh -p 2222 desk@2001:db8::1"
    assert lines["files"] == "sftp -P 2222 desk@[2001:db8::1]"
    assert lines["window"] == "xpra attach ssh://desk@[2001:db8::1]:2222/"
    assert here.block("main").splitlines()[1] == "    HostName 2001:db8::1"
