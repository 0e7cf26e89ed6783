"""Names that may pass, and what a session is for."""

import pytest

from broker.core.gateway import Allowance
from broker.door.activity import Kind
from broker.door.limits import Limits
from broker.door.messages import pack_string
from broker.door.policy import (
    CHANNEL_REQUESTS,
    CLIENT_FORWARDS,
    GLOBAL_REQUESTS,
    INNER_OPENS,
    Desktop,
    Environment,
    Refusal,
    Word,
    decide,
    forward,
)
from tests.door.world import env, execute, opening, request

EVERYTHING = frozenset(Allowance)
LIMITS = Limits()


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("desk", ()),
        ("desk list", ("list",)),
        ("  desk  why --json", ("why", "--json")),
        ("desk share 'the lab' x", ("share", "the lab", "x")),
        ('"desk" list', ("list",)),
        ("desk list; rm -rf /", ("list;", "rm", "-rf", "/")),
        ("desk $(id) `id`", ("$(id)", "`id`")),
        ("desk 'broken", ("'broken",)),
        ("desk\tlist\nstop", ("list", "stop")),
    ],
)
def test_a_command_that_begins_with_desk_is_a_word_and_reaches_no_shell(command, argv):
    """Split as a shell would split it, and never run by one."""
    assert decide(execute(1, command), LIMITS, EVERYTHING) == Word(argv)


@pytest.mark.parametrize(
    "command",
    ["true", "desktop", "./desk list", "desk-x", "echo desk", "'desk list'", "", "\0desk"],
)
def test_other_commands_go_to_the_desktop(command):
    """The first shell word is what counts."""
    assert decide(execute(1, command), LIMITS, EVERYTHING) == Desktop(None, Kind.EXEC)


@pytest.mark.parametrize(
    "command",
    [
        "mosh-server 'new' '-c' '256' '-s' '-l' 'LANG=C.UTF-8'",
        "mosh-server new -p 60001 -- tmux a",
        "LC_ALL=C.UTF-8 mosh-server new",
        "env LANG=x LC_ALL=C.UTF-8 /usr/local/bin/mosh-server new -s",
        '"/opt/my/mosh-server" "new"',
        """sh -c '[ -n "$SSH_CONNECTION" ] && printf "\\nMOSH %s\\n" x' ; mosh-server 'new'""",
    ],
)
def test_mosh_is_refused_in_one_sentence_with_its_code(command):
    """However its clients spell it: no UDP reaches a desktop, and mosh would only wait for it."""
    choice = decide(execute(1, command), LIMITS, EVERYTHING)
    assert isinstance(choice, Refusal)
    assert choice.sentence.startswith("mosh needs UDP")
    assert choice.sentence.endswith(". (unsupported)")


@pytest.mark.parametrize(
    "command",
    [
        "which mosh-server",
        "echo mosh-server new",
        "mosh-server-upgrade new",
        "mosh-server newer",
        "man mosh-server",
        "x" * 3000 + "; mosh-server new",
    ],
)
def test_talk_of_mosh_is_no_mosh(command):
    """Only what would start its server."""
    assert decide(execute(1, command), LIMITS, EVERYTHING) == Desktop(None, Kind.EXEC)


def test_a_subsystem_is_never_a_word():
    """Whatever its name."""
    packet = request(1, b"subsystem", want=True, rest=b"\0\0\0\x04desk")
    assert decide(packet, LIMITS, EVERYTHING) == Desktop(None, Kind.EXEC)
    assert decide(request(1, b"shell", want=True), LIMITS, EVERYTHING) == Desktop(None, Kind.SHELL)


def test_an_xpra_command_picks_its_display():
    assert decide(execute(1, 'xpra _proxy ":1012"'), LIMITS, EVERYTHING) == Desktop(1012, Kind.XPRA)


def test_sftp_is_a_subsystem_of_its_own_kind():
    packet = request(1, b"subsystem", want=True, rest=b"\0\0\0\x04sftp")
    assert decide(packet, LIMITS, EVERYTHING) == Desktop(None, Kind.SFTP)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/run/desk/vnc.sock", Kind.VIEWER),
        (b"/run/desk/xpra.sock", Kind.VIEWER),
        (b"/var/run/desk/vnc.sock", Kind.VIEWER),
        (b"//run//./desk/../desk/vnc.sock", Kind.VIEWER),
        (b"/run/user/1000/xpra/1012/socket", Kind.VIEWER),
        (b"/home/desk/.xpra/host-1012", Kind.VIEWER),
        (b"/run/user/1000/x\n/xpra/socket", Kind.VIEWER),
        (b"/run/desktop/x", Kind.FORWARD),
        (b"/home/desk/run/desk/x", Kind.FORWARD),
        (b"/home/desk/xpra", Kind.FORWARD),
        (b"/home/desk/myxpra/socket", Kind.FORWARD),
        (b"", Kind.FORWARD),
    ],
)
def test_a_forward_to_a_viewer_s_socket_is_the_viewer_s(path, kind):
    """However the path is spelt."""
    packet = opening(b"direct-streamlocal@openssh.com", 1) + pack_string(path)
    assert forward(packet) is kind


def test_other_forwards_are_just_that():
    assert forward(opening(b"direct-tcpip", 1)) is Kind.FORWARD


def test_a_word_of_unbounded_length_is_cut():
    """Shell quoting is not parsed beyond the bound."""
    word = decide(execute(1, "desk " + "x " * 100_000), LIMITS, EVERYTHING)
    assert sum(len(a) + 1 for a in word.argv) <= LIMITS.word_bytes


@pytest.mark.parametrize("name", [b"LANG", b"LC_ALL", b"LC_X", b"TERM", b"COLORTERM"])
def test_harmless_variables_pass(name):
    assert Environment().admits(env(1, "x", name=name), LIMITS)


@pytest.mark.parametrize(
    "name",
    [b"LD_PRELOAD", b"PATH", b"BASH_ENV", b"LC_", b"LC_a", b"LANG\n", b"LANG=", b"", b"XLANG"],
)
def test_other_variables_do_not(name):
    assert not Environment().admits(env(1, "x", name=name), LIMITS)


def test_variables_are_counted():
    """The 33rd is refused, and so is what makes more than 4 KiB."""
    many = Environment()
    assert [many.admits(env(1, "x"), LIMITS) for _ in range(33)] == [True] * 32 + [False]
    big = Environment()
    assert big.admits(env(1, "x" * 4000), LIMITS)
    assert not big.admits(env(1, "x" * 200), LIMITS)


def test_what_may_pass_by_name_is_this_and_no_more():
    """A new name is a decision: it changes this list."""
    assert sorted(CLIENT_FORWARDS) == [b"direct-streamlocal@openssh.com", b"direct-tcpip"]
    assert sorted(INNER_OPENS) == [
        b"auth-agent@openssh.com",
        b"forwarded-streamlocal@openssh.com",
        b"forwarded-tcpip",
        b"x11",
    ]
    assert all(INNER_OPENS.values())
    assert sorted(GLOBAL_REQUESTS) == [
        b"cancel-streamlocal-forward@openssh.com",
        b"cancel-tcpip-forward",
        b"streamlocal-forward@openssh.com",
        b"tcpip-forward",
    ]
    assert sorted(CHANNEL_REQUESTS) == [
        b"auth-agent-req@openssh.com",
        b"break",
        b"env",
        b"eow@openssh.com",
        b"exec",
        b"pty-req",
        b"shell",
        b"signal",
        b"subsystem",
        b"window-change",
        b"x11-req",
        b"xon-xoff",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "scp -t .",
        "scp -v -f x",
        "scp -rpf /etc",
        "/usr/bin/scp -t x",
        "'scp' -t x",
        "/usr/lib/openssh/sftp-server",
        "/usr/lib/sftp-server -e",
    ],
)
def test_files_are_refused_to_whom_they_are_not_allowed(command):
    """By each way that stock clients have."""
    allowed = EVERYTHING - {Allowance.SFTP}
    assert decide(execute(1, command), LIMITS, EVERYTHING) == Desktop(None, Kind.EXEC)
    choice = decide(execute(1, command), LIMITS, allowed)
    assert choice == Refusal("sftp and scp are not allowed here. (access_denied)")
    assert (
        decide(request(1, b"subsystem", want=True, rest=b"\0\0\0\x04sftp"), LIMITS, allowed)
        == choice
    )


@pytest.mark.parametrize("command", ["scp x y:", "scp --help", "man scp -t", "sftp-servers"])
def test_other_commands_go_on_without_files(command):
    found = decide(execute(1, command), LIMITS, EVERYTHING - {Allowance.SFTP})
    assert found == Desktop(None, Kind.EXEC)
