"""The commands of xpra clients, 3.1.3 to 6.x."""

import time

import pytest

from broker.door.xpra import XpraRequest, parse_command

OLD = (
    "sh -c 'xpra initenv;if [ -x $XDG_RUNTIME_DIR/xpra/run-xpra ]; then "
    "$XDG_RUNTIME_DIR/xpra/run-xpra {0};"
    'elif which "xpra" > /dev/null 2>&1; then xpra {0};'
    "elif [ -x /usr/local/bin/xpra ]; then /usr/local/bin/xpra {0};"
    'else echo "no run-xpra command found"; exit 1; fi\''
)
NEW = (
    "sh -c 'if [ -x $XDG_RUNTIME_DIR/xpra/run-xpra ]; then "
    "$XDG_RUNTIME_DIR/xpra/run-xpra {0};"
    'elif command -v "xpra" > /dev/null 2>&1; then xpra {0};'
    'else echo "no run-xpra command found"; exit 1; fi\''
)
TWICE = 'sh -c "sh -c \'xpra _proxy \\":1012\\"\'"'


@pytest.mark.parametrize(
    ("command", "display"),
    [
        (OLD.format('_proxy ":10"'), 10),
        (OLD.format("_proxy"), None),
        (NEW.format('_proxy ":1012"'), 1012),
        (NEW.format('_proxy "1012"'), 1012),
        (NEW.format("_proxy"), None),
        ('xpra "_proxy" ":10"', 10),
        ('"/usr/bin/xpra" "_proxy" "10"', 10),
        ('"/usr/bin/xpra" "_proxy"', None),
        ("xpra _proxy :10.0", 10),
        ('xpra _proxy --socket-dir=/tmp/x --env=SSH_AGENT_UUID=ab12 ":1012"', 1012),
        ('xpra _proxy ":1012" --socket-dirs=/a --env=SSH_AGENT_UUID=12', 1012),
        ("xpra _proxy_start --start=xterm", None),
        ('xpra _proxy_start ":20" --start=xterm', 20),
        ('xpra _proxy_start_desktop ":21"', 21),
        ('xpra _proxy_start_monitor "22"', 22),
        ('xpra _proxy_start_expand ":23"', 23),
        ('xpra _proxy_shadow_start ":24"', 24),
        ("xpra _proxy_run xterm", None),
        ('Xpra_cmd.exe _proxy ":10"', 10),
        ("$XDG_RUNTIME_DIR/xpra/run-xpra _proxy :7", 7),
        ("xpra _proxy wayland-0", None),
        (TWICE, 1012),
    ],
)
def test_the_display_is_found_in_every_form(command, display):
    """With a colon, without, quoted once or twice, behind options; none named is None."""
    assert parse_command(command) == XpraRequest(display)


@pytest.mark.parametrize(
    "command",
    [
        "which $XDG_RUNTIME_DIR/xpra/run-xpra",
        "which xpra",
        "command -v xpra",
        "echo $OSTYPE",
        "echo %OS%",
        "command",
        "xpra list",
        "xpra attach :10",
        "sh -c './docker-desktop -s 800x600 -d 10 > /dev/null 2>&1 &'",
        "./docker-desktop -s 800x600 -d 11",
        "notxpra _proxy :10",
        "true",
        "",
    ],
)
def test_other_commands_choose_no_display(command):
    """The probes of the paramiko back end, the article's script, and anything else."""
    assert parse_command(command) is None


@pytest.mark.parametrize("piece", ['"a" ', "xpra _proxy ", "xpra ", "-x ", '"', "\\'"])
def test_a_long_command_is_searched_in_no_time(piece):
    """No form of text makes the search explode."""
    begin = time.perf_counter()
    parse_command("xpra _proxy " + piece * (60_000 // len(piece)))
    assert time.perf_counter() - begin < 1


def test_what_is_too_long_is_not_searched():
    assert parse_command(" " * 70_000 + "xpra _proxy :10") is None
