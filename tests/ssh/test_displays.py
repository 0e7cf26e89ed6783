"""What xpra's clients send: the display number reaches the gateway."""

from __future__ import annotations

import pytest

from .clients import Person, until

_OLD = (
    "sh -c 'xpra initenv;if [ -x $XDG_RUNTIME_DIR/xpra/run-xpra ]; then "
    '$XDG_RUNTIME_DIR/xpra/run-xpra _proxy{0};elif which "xpra" > /dev/null 2>&1; then '
    'xpra _proxy{0};else echo "no run-xpra command found"; exit 1; fi\''
)
_NEW = (
    'sh -c \'if command -v "xpra" > /dev/null 2>&1; then xpra _proxy{0};'
    'else echo "no run-xpra command found"; exit 1; fi\''
)


@pytest.mark.parametrize(
    ("command", "display"),
    [
        (_OLD.format(' ":10"'), 10),
        (_OLD.format(""), None),
        (_NEW.format(' ":1012"'), 1012),
        (_NEW.format(' "1012"'), 1012),
        (_NEW.format(""), None),
        ('xpra "_proxy" ":1012"', 1012),
        ('"/opt/bin/xpra" "_proxy" "1012"', 1012),
        ("xpra _proxy_start --env=A=b :1013", 1013),
        ("xpra _proxy_shadow_start --socket-dir=/tmp 1014", 1014),
        ("which xpra", None),
        ("command -v xpra", None),
        ("echo _proxy :1012", None),
    ],
)
def test_display_reaches_the_gateway(desk: Person, command: str, display: int | None) -> None:
    """Each shape that clients send names the display, or none."""
    desk.ssh(command)
    assert [call["display"] for call in desk.calls("route")] == [display]


def test_shell_names_no_display(desk: Person) -> None:
    """Shells, subsystems and other commands mean the default desktop."""
    desk.ssh("-T", stdin=b"exit\n")
    desk.ssh("-s", "sftp", stdin=b"")
    desk.ssh("true")
    until(lambda: len(desk.calls("route")) == 3, 5, "three questions")
    assert [call["display"] for call in desk.calls("route")] == [None, None, None]


def test_binary_stream_of_a_proxy(desk: Person) -> None:
    """What follows the command is raw bytes both ways."""
    data = bytes(range(256)) * 4000
    done = desk.ssh("xpra _proxy :1012", stdin=data)
    assert done.out == data
    assert [call["display"] for call in desk.calls("route")] == [1012]


def test_same_display_on_a_shared_connection(desk: Person) -> None:
    """paramiko's way: probing commands first, then the proxy, on one connection."""
    mux = desk.folder / "mux"
    desk.start("-M", "-S", str(mux), "-N")
    until(mux.exists, 10, "the master listens")
    for command in ("which xpra; true", "echo proxied | xpra _proxy :1012"):
        done = desk.ssh("-S", str(mux), command)
        assert done.status == 0, done.err
    assert done.out == b"proxied\n"
    assert 1012 in [call["display"] for call in desk.calls("route")]
