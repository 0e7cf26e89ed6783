"""The switch, case by case, as dialogues."""

from __future__ import annotations

import pytest

from broker.core.gateway import Allowance
from broker.door import messages
from broker.door.activity import Kind
from broker.door.limits import Limits
from broker.door.messages import DATA_PACKET, Message, ProtocolViolation, pack, pack_string
from broker.door.splice import Splice
from tests.door.world import ClientChannel, World, env, execute, global_request, opening, request

PTY = pack_string(b"xterm") + pack(80) + pack(24) + pack(0) * 2 + pack_string(b"")


def shell_of(world, *, pty=False, command=None):
    """A session that is decided and bound."""
    channel = decided(world, pty=pty, command=command)
    if not world.bound:
        world.bind()
    world.settle()
    return channel


def decided(world, *, pty=False, command=None):
    channel = world.open_session()
    if pty:
        channel.asked.append(Message.SUCCESS)
        world.send(request(channel.peer, b"pty-req", want=True, rest=PTY))
    channel.asked.append(Message.SUCCESS)
    if command is None:
        world.send(request(channel.peer, b"shell", want=True))
    else:
        world.send(execute(channel.peer, command))
    return channel


def names(world, own=0):
    return [s[0] for s in world.inner[own].seen if isinstance(s, tuple)]


def test_authentication_and_an_open_session_start_nothing():
    """Until shell, exec or subsystem nobody is asked for a desktop."""
    world = World()
    channel = world.open_session()
    world.ask(channel, "x", want=True, good=True)
    assert channel.window == 0
    assert not world.binds
    assert not world.to_client


def test_a_pipelining_client_gets_the_desktop_s_own_answers():
    """Its requests are replayed in order, and a refused pty is seen as refused."""
    world = World()
    channel = world.open_session()
    channel.asked.extend([Message.FAILURE, Message.SUCCESS])
    world.send(env(channel.peer, "bad"))
    world.send(request(channel.peer, b"shell", want=True))
    world.bind()
    world.settle()
    assert names(world) == [b"env", b"shell"]
    assert not channel.asked


def test_a_waiting_client_gets_one_early_answer_and_not_a_second():
    """The desktop's reply to a request that was answered is swallowed."""
    world = World()
    channel = world.open_session()
    world.ask(channel, "x", want=True, good=False)
    assert world.armed
    channel.asked[0] = Message.SUCCESS
    world.do(world.splice.optimistic_due())
    world.settle()
    channel.asked.append(Message.SUCCESS)
    world.send(execute(channel.peer, "true"))
    world.bind()
    world.settle()
    assert not channel.asked


def test_windows_are_carried_over():
    """The client's adjusts while it waited reach the desktop, whose window reaches the client."""
    world = World()
    channel = decided(world, command="cat")
    world.send(messages.window_adjust(channel.peer, 111))
    world.bind()
    world.send(messages.window_adjust(channel.peer, 222))
    world.settle()
    assert world.inner[0].window == (1 << 20) + 333
    assert channel.window == 1 << 16


def test_data_before_the_window_is_a_violation():
    world = World()
    channel = decided(world, command="cat")
    with pytest.raises(ProtocolViolation, match="window"):
        world.send(messages.data(channel.peer, b"x"))


def test_a_refused_request_keeps_its_place():
    """It goes in under a name that nothing knows; without a wish for a reply it is dropped."""
    world = World()
    channel = shell_of(world)
    channel.asked.extend([Message.FAILURE, Message.SUCCESS])
    world.send(request(channel.peer, b"tun@example.org", want=True))
    world.send(request(channel.peer, b"tun@example.org", want=False))
    world.send(request(channel.peer, b"signal", want=True))
    world.settle()
    assert names(world)[1:] == [b"refused@desk", b"signal"]


@pytest.mark.parametrize("kind", [b"tun@openssh.com", b"x11", b"forwarded-tcpip", b"", b"Session"])
def test_other_channel_types_of_a_client_are_refused(kind):
    """By name, and nothing is started for them."""
    world = World()
    world.send(opening(kind, 3))
    assert world.to_client.pop()[0] == Message.OPEN_FAILURE
    assert not world.binds


def test_a_client_that_goes_on_opening_is_cut():
    """A thousand refusals are enough."""
    world = World()
    for number in range(1000):
        world.send(opening(b"strange", number))
    with pytest.raises(ProtocolViolation):
        world.send(opening(b"strange", 1000))


def test_channels_are_bounded():
    """The 65th is refused for want of room."""
    world = World()
    for _ in range(64):
        world.open_session()
    world.send(opening(b"session", 999))
    refusal = world.to_client.pop()
    assert messages.uint32(refusal, 5) == messages.OpenFailure.RESOURCE_SHORTAGE


def test_a_packet_size_of_zero_is_a_violation():
    with pytest.raises(ProtocolViolation):
        World().send(opening(b"session", 1, packet=0))


def test_an_undecided_queue_is_bounded():
    """1024 requests, or 256 KiB of them."""
    world = World(Limits(environment_count=10_000, environment_bytes=1 << 30))
    channel = world.open_session()
    for _ in range(1024):
        world.send(env(channel.peer, "x", want=False))
    with pytest.raises(ProtocolViolation, match="too many"):
        world.send(env(channel.peer, "x", want=False))


def test_all_undecided_queues_together_are_bounded():
    """Four times what one may queue."""
    world = World(Limits(environment_count=10_000, environment_bytes=1 << 30))
    sent = 0
    with pytest.raises(ProtocolViolation, match="too many"):
        for _ in range(60):
            channel = world.open_session()
            for _ in range(20):
                world.send(env(channel.peer, "x" * 10_000, want=False))
                sent += 10_000
    assert sent < 5 * 256 * 1024


def test_a_client_is_not_read_while_too_much_waits():
    """And is read again once the desktop is there."""
    world = World(Limits(waiting_packets=10))
    channel = decided(world, command="cat")
    for _ in range(12):
        world.send(request(channel.peer, b"signal", want=False))
    assert world.held
    world.bind()
    world.settle()
    assert not world.held


def test_no_more_sessions_ends_here_and_holds():
    world = World()
    world.send(global_request(b"no-more-sessions@openssh.com", want=False))
    world.send(opening(b"session", 1))
    assert world.to_client.pop()[0] == Message.OPEN_FAILURE
    assert not world.binds


def test_a_forward_waits_for_the_desktop_and_its_replies_stay_in_order():
    """An answer that the door has ready waits behind the one that the desktop owes."""
    world = World()
    world.send(global_request(b"tcpip-forward", rest=pack(4)))
    world.send(global_request(b"keepalive@openssh.com"))
    assert not world.to_client
    world.globals.extend([b"\x51" + pack(4), b"\x51"])
    world.bind()
    world.settle()
    assert not world.globals


def test_global_requests_of_the_desktop_never_reach_the_client():
    """A keepalive is granted, host keys are not told."""
    world = World()
    shell_of(world)
    for name, granted in ((b"hostkeys-00@openssh.com", False), (b"keepalive@openssh.com", True)):
        world.do(world.splice.from_inner(global_request(name)))
        assert world.to_inner.pop() == messages.global_reply(granted=granted)
    assert not world.to_client


@pytest.mark.parametrize(
    "kind",
    [b"forwarded-tcpip", b"forwarded-streamlocal@openssh.com", b"x11", b"auth-agent@openssh.com"],
)
def test_what_the_client_did_not_ask_for_is_not_opened(kind):
    """A desktop cannot reach for a client's agent, display or ports."""
    world = World()
    shell_of(world)
    world.do(world.splice.from_inner(opening(kind, 9)))
    assert world.to_inner.pop()[0] == Message.OPEN_FAILURE
    assert not world.to_client


@pytest.mark.parametrize("good", [True, False])
def test_an_agent_is_opened_once_it_was_granted(good):
    """The desktop's sshd must have said yes to the client's request."""
    world = World()
    channel = shell_of(world)
    channel.asked.append(Message.SUCCESS if good else Message.FAILURE)
    rest = b"" if good else b"bad"
    world.send(request(channel.peer, b"auth-agent-req@openssh.com", want=True, rest=rest))
    world.settle()
    world.do(world.splice.from_inner(opening(b"auth-agent@openssh.com", 9)))
    world.do(world.splice.from_inner(opening(b"x11", 10)))
    assert [p[0] for p in world.to_inner] == [92] * (1 if good else 2)
    if good:
        world.settle()
        world.next_inner = 20
        world.send(messages.open_confirmation(9, 77, 1000, 1000))
        world.settle()
        assert world.inner[9].peer == 77


def test_a_word_is_answered_here_and_starts_nothing():
    """Output in the client's window and packet size, an exit status, EOF and CLOSE."""
    world = World()
    channel = world.open_session()
    channel.word = True
    channel.asked.append(Message.SUCCESS)
    world.send(execute(channel.peer, "desk list --json"))
    number, argv = world.words.pop()
    assert argv == ("list", "--json")
    world.do(world.splice.word_answered(number, "o" * 70_000, "e", 3))
    assert all(len(p) <= DATA_PACKET + 9 for p in world.to_client)
    world.settle()
    assert (len(channel.got), channel.err, channel.status) == (70_000, b"e", 3)
    assert channel.got_close
    assert not world.binds


def test_a_word_waits_for_the_client_s_window():
    world = World()
    world.send(opening(b"session", 0, window=10))
    world.to_client.pop()
    world.send(execute(1 << 30, "desk help", want=False))
    number, _ = world.words.pop()
    world.do(world.splice.word_answered(number, "0123456789abc", "", 0))
    assert [p[0] for p in world.to_client] == [Message.DATA]
    world.send(messages.window_adjust(1 << 30, 3))
    assert [p[0] for p in world.to_client][1:] == [94, 98, 96, 97]


def test_a_client_with_tiny_packets_gets_the_status_alone():
    """Else one word would cost a hundred thousand packets."""
    world = World()
    world.send(opening(b"session", 0, packet=1))
    world.send(execute(1 << 30, "desk help", want=False))
    number, _ = world.words.pop()
    world.do(world.splice.word_answered(number, "x" * 100_000, "", 0))
    assert [p[0] for p in world.to_client][1:] == [98, 96, 97]


def test_a_terminal_gets_whole_line_ends():
    """Its line discipline is at the client, in raw mode."""
    world = World()
    channel = world.open_session()
    channel.word = True
    channel.asked.extend([Message.SUCCESS] * 2)
    world.send(request(channel.peer, b"pty-req", want=True, rest=PTY))
    world.send(execute(channel.peer, "desk list"))
    world.do(world.splice.word_answered(world.words.pop()[0], "a\nb\n", "", 0))
    world.settle()
    assert channel.got == b"a\r\nb\r\n"


def test_progress_is_shown_on_an_interactive_shell_and_nowhere_else():
    """One line on stderr, and no byte on an exec, a subsystem or a shell without a terminal."""
    world = World()
    seen = decided(world, pty=True)
    others = [
        decided(world, command="cat"),
        decided(world, pty=True, command="top"),
        decided(world),
    ]
    world.do(world.splice.progress("Your desktop is starting …"))
    late = decided(world, pty=True)
    world.settle_client()
    assert seen.err == late.err == "Your desktop is starting …\r\n".encode()
    assert not any(channel.err or channel.got for channel in others)
    world.bind()
    world.settle()
    assert world.inner[0].window == seen.given


def test_each_new_sentence_of_progress_is_one_line():
    """The same again is none, for nobody."""
    world = World()
    seen = decided(world, pty=True)
    for sentence in ("3rd in line.", "3rd in line.", "2nd in line.", "2nd in line."):
        world.do(world.splice.progress(sentence))
        world.settle_client()
    late = decided(world, pty=True)
    world.do(world.splice.progress("3rd in line."))
    world.settle_client()
    assert seen.err == b"3rd in line.\r\n2nd in line.\r\n3rd in line.\r\n"
    assert late.err == b"2nd in line.\r\n3rd in line.\r\n"


def test_who_does_not_read_progress_gets_no_more_of_it():
    """Sentences without end fill no memory."""
    world = World()
    channel = world.open_session()
    channel.asked.extend([Message.SUCCESS] * 2)
    world.splice.table.of_door(channel.peer).window = 3
    world.send(request(channel.peer, b"pty-req", want=True, rest=PTY))
    world.send(request(channel.peer, b"shell", want=True))
    for number in range(1000):
        world.do(world.splice.progress(f"{number} before you."))
    assert len(world.splice.table.of_door(channel.peer).output) == 1
    world.settle_client()
    assert channel.err == b"0 b"


def test_no_desktop_is_one_sentence_and_status_1():
    """Sessions hear it on stderr, forwards as the reason of their failure."""
    world = World()
    channel = decided(world, command="true")
    world.send(opening(b"direct-tcpip", 40))
    world.send(global_request(b"tcpip-forward"))
    world.globals.append(b"\x52")
    world.do(world.splice.inner_unbindable("All places are taken."))
    failure = next(p for p in world.to_client if p[0] == Message.OPEN_FAILURE)
    world.to_client.remove(failure)
    assert messages.string(failure, 9)[0] == b"All places are taken."
    world.settle()
    assert (channel.err, channel.status) == (b"desk: All places are taken.\n", 1)
    assert not world.globals
    decided(world, command="true")
    assert len(world.binds) == 2


def test_a_lost_desktop_ends_a_terminal_at_once():
    """With a sentence that the client prints."""
    world = World()
    shell_of(world, pty=True)
    world.lose()
    assert world.disconnected == "desk: gone"


def test_a_lost_desktop_lets_a_client_drain_first():
    """EOF, exit-signal and CLOSE now, the end of the connection later."""
    world = World()
    channel = shell_of(world, command="cat")
    world.lose()
    assert [p[0] for p in world.to_client] == [96, 98, 97]
    assert world.disconnected is None
    world.settle_client()
    world.send(messages.data(channel.peer, b"late"))
    assert world.orphan_timer
    world.do(world.splice.orphaned_due())
    assert world.disconnected == "desk: gone"


def test_an_idle_connection_outlives_its_desktop_and_binds_again():
    """The next session gets a desktop, and numbers are not confused."""
    world = World()
    channel = shell_of(world, command="true")
    world.inner_closes(world.inner[0])
    world.settle()
    world.close(channel)
    world.settle()
    world.lose()
    assert world.disconnected is None
    again = shell_of(world, command="true")
    assert again.peer != channel.peer
    assert again.window == 1 << 16


def test_nobody_is_bound_while_channels_of_a_lost_desktop_close():
    """Their numbers could be the new one's."""
    world = World()
    old = shell_of(world, command="cat")
    world.lose()
    world.settle_client()
    new = decided(world, command="true")
    assert not world.binds
    world.close(old)
    assert world.binds
    world.bind()
    world.settle()
    assert new.window == 1 << 16


def test_a_desktop_lost_before_it_confirmed_is_tried_once_more():
    """With the client's whole window."""
    world = World()
    channel = decided(world, command="true")
    world.bind()
    world.to_inner.clear()
    world.send(messages.window_adjust(channel.peer, 5))
    world.lose()
    world.bind()
    assert messages.uint32(world.to_inner[0], 16) == (1 << 20) + 5
    world.to_inner.clear()
    world.lose()
    world.settle_client()
    assert channel.status == 1


def test_forwards_alone_end_with_their_desktop():
    """Nothing else would tell a client with `-N -R` that its listener is gone."""
    world = World()
    world.send(global_request(b"tcpip-forward", want=False))
    world.bind()
    world.settle()
    world.lose()
    assert world.disconnected


def test_an_open_of_a_lost_desktop_is_closed_when_the_client_answers():
    """The client's channel ends; nothing goes to the new desktop."""
    world = World()
    channel = shell_of(world, command="cat")
    channel.asked.append(Message.SUCCESS)
    world.send(request(channel.peer, b"auth-agent-req@openssh.com", want=True))
    world.settle()
    world.do(world.splice.from_inner(opening(b"auth-agent@openssh.com", 9)))
    world.lose()
    world.send(messages.open_confirmation(9, 77, 1000, 1000))
    assert world.to_client.pop() == messages.close(77)
    world.send(messages.data(9, b"dropped"))
    world.send(messages.close(9))


def xpra(display):
    return f'xpra _proxy ":{display}"'


def test_the_first_display_picks_the_desktop():
    world = World()
    decided(world, command=xpra(1012))
    assert world.binds == [1012]


def test_the_bound_desktop_s_display_needs_no_question():
    """Nor does the one that was asked for first."""
    world = World()
    decided(world, command=xpra(10))
    world.bind(display=1012)
    decided(world, command=xpra(1012))
    decided(world, command=xpra(10))
    assert not world.resolves
    world.settle()
    assert len(world.inner) == 3


@pytest.mark.parametrize("same", [True, False])
def test_another_display_on_the_same_connection_is_asked_after(same):
    """The user's other desktop is refused with the remedy; any other number means this one."""
    world = World()
    shell_of(world)
    other = decided(world, command=xpra(1013))
    number, display = world.resolves.pop()
    assert display == 1013
    world.do(world.splice.display_resolved(number, same=same))
    world.settle()
    assert (len(world.inner) == 2) is same
    assert (other.status == 1) is not same
    assert (b"ssh -S none" in other.err) is not same


def test_an_unused_desktop_is_left_for_the_one_that_is_wanted():
    """xpra's paramiko back end probes before it says which display it wants."""
    world = World()
    probe = shell_of(world, command="which xpra")
    world.inner_closes(world.inner[0])
    world.settle()
    world.close(probe)
    world.settle()
    decided(world, command=xpra(1013))
    number, _ = world.resolves.pop()
    world.do(world.splice.display_resolved(number, same=False))
    assert world.unbound == 1
    assert world.binds == [1013]


@pytest.mark.parametrize(
    "payload",
    [
        messages.data(3, b"x"),
        messages.data(1 << 30, b"x"),
        messages.success(1),
        messages.close(0xFFFFFFFF),
        messages.open_confirmation(1, 1, 1, 1),
        b"\x5a",
        b"\x5a\0\0\0\x07session",
        b"\x50",
        b"\x62\0",
        b"\x65" + pack(1),
        b"\x53",
    ],
)
def test_nonsense_of_either_side_is_a_violation(payload):
    """Unknown channels, short packets, unknown messages: never an exception of another kind."""
    with pytest.raises(ProtocolViolation):
        Splice(Limits()).from_client(payload)
    world = World()
    shell_of(world)
    with pytest.raises(ProtocolViolation):
        world.splice.from_inner(
            payload[:1] + pack(99) + payload[5:] if len(payload) > 5 else payload
        )


def test_what_nothing_can_serve_is_refused_at_once():
    """mosh's start: the sentence, a failure, and nobody is asked for a desktop."""
    world = World()
    channel = decided(world, pty=True, command="mosh-server new")
    world.settle()
    assert channel.err.startswith(b"desk: mosh needs UDP")
    assert channel.err.endswith(b"(unsupported)\r\n")
    assert channel.status == 1
    assert not world.binds


def test_so_many_words_run_at_a_time_though_their_channels_close():
    """The next is refused at once; one that ends makes room."""
    world = World()
    for _ in range(4):
        channel = decided(world, command="desk list")
        channel.word = True
        world.close(channel)
        world.settle()
    assert len(world.words) == 4
    refused = decided(world, command="desk list")
    refused.word = True
    world.send(messages.window_adjust(refused.peer, 1000))
    world.settle()
    assert len(world.words) == 4
    assert refused.status == 1
    assert refused.err.startswith(b"desk: Too many words at once; ")
    world.do(world.splice.word_answered(world.words.popleft()[0], "", "", 0))
    decided(world, command="desk list").word = True
    assert len(world.words) == 4


# ------------------------------------------------------------------------------------- activity


def carried(world):
    return {c.kind: (c.up, c.down) for c in world.splice.table.look()}


def test_a_channel_knows_what_it_is_for():
    """The broker's own words, and what is refused or undecided, are for nothing."""
    world = World()
    shell_of(world)
    shell_of(world, command="cat")
    shell_of(world, command="xpra _proxy")
    word = world.open_session()
    word.word = True
    word.asked.append(Message.SUCCESS)
    world.send(execute(word.peer, "desk list"))
    world.open_session()
    assert world.splice.table.kinds() == ("exec", "shell", "xpra")
    sftp = world.open_session()
    sftp.asked.append(Message.SUCCESS)
    world.send(request(sftp.peer, b"subsystem", want=True, rest=messages.pack_string(b"sftp")))
    world.settle()
    for number, kind in enumerate((b"direct-tcpip", b"direct-streamlocal@openssh.com")):
        path = messages.pack_string(b"/run/desk/vnc.sock")
        opened = opening(kind, 50 + number) + path
        world.client[50 + number] = ClientChannel(50 + number, "f")
        world.send(opened)
    world.settle()
    assert world.splice.table.kinds() == ("exec", "forward", "sftp", "shell", "xpra")
    world.lose()
    assert world.splice.table.kinds() == ()


def test_bytes_are_counted_by_what_their_channel_is_for():
    """Each once, both ways, and no window, EOF or request is a byte."""
    world = World()
    channel = shell_of(world, command="cat")
    world.send(messages.data(channel.peer, b"12345"))
    world.send(messages.window_adjust(channel.peer, 5000))
    world.send(env(channel.peer, "x", want=False))
    world.inner_says(world.inner[0], b"123")
    world.settle()
    assert carried(world) == {Kind.EXEC: (5, 3)}
    assert carried(world) == {}
    world.send(messages.eof(channel.peer))
    assert carried(world) == {}


def test_a_channel_that_is_gone_is_counted_once_more():
    """And its numbers may be another's then."""
    world = World()
    for number in range(3):
        channel = shell_of(world, command="cat")
        world.send(messages.data(channel.peer, b"12345"))
        world.settle()
        world.inner_closes(world.inner[number])
        world.settle()
        world.close(channel)
        world.settle()
    assert not len(world.splice.table)
    assert carried(world) == {Kind.EXEC: (15, 0)}
    assert not world.splice.table.client_bytes
    assert not world.splice.table.inner_bytes


def test_what_the_desktop_opens_is_a_forward():
    """A listener's, a screen's, an agent's."""
    world = World()
    channel = shell_of(world, command="cat")
    channel.asked.append(Message.SUCCESS)
    world.send(request(channel.peer, b"auth-agent-req@openssh.com", want=True))
    world.settle()
    world.do(world.splice.from_inner(opening(b"auth-agent@openssh.com", 9)))
    world.send(messages.open_confirmation(9, 77, 1000, 1000))
    world.send(messages.data(9, b"12"))
    assert carried(world) == {Kind.FORWARD: (2, 0)}


# ------------------------------------------------------------------------- the end of a session


def over(world, sentence="It was stopped."):
    """The broker ends the session."""
    world._inner_gone()
    world.do(world.splice.session_ended(sentence))


def test_a_terminal_hears_of_the_end_at_once():
    world = World()
    shell_of(world, pty=True)
    over(world)
    assert world.disconnected == "desk: It was stopped."


def test_an_idle_client_hears_of_the_end_at_once():
    """Though an undecided channel stands open."""
    world = World()
    channel = shell_of(world, command="cat")
    world.inner_closes(world.inner[0])
    world.settle()
    world.close(channel)
    world.settle()
    world.open_session()
    over(world)
    assert world.disconnected == "desk: It was stopped."


@pytest.mark.parametrize("late", [False, True])
def test_a_command_takes_what_was_written_and_hears_of_the_end(late):
    """On stderr; then the connection ends, when the client is done or too late for it."""
    world = World()
    channel = shell_of(world, command="cat")
    world.inner_says(world.inner[0], b"written")
    world.deliver()
    over(world)
    assert world.disconnected is None
    world.settle_client()
    assert (channel.got, channel.err) == (b"written", b"desk: It was stopped.\n")
    assert channel.got_close
    assert world.orphan_timer
    if late:
        world.do(world.splice.orphaned_due())
    else:
        world.close(channel)
    assert world.disconnected == "desk: It was stopped."


def test_xpra_s_stream_simply_ends():
    world = World()
    channel = shell_of(world, command='xpra _proxy ":1000"')
    over(world)
    world.settle_client()
    assert (channel.got, channel.err, channel.got_close) == (b"", b"", True)


@pytest.mark.parametrize("room", [21, 22])
def test_the_end_is_told_where_it_certainly_fits(room):
    """Into the window that the client gave when it asked, less all that was written since."""
    world = World()
    channel = decided(world, command="cat")
    world.bind()
    world.settle()
    inner = world.inner[0]
    world.inner_says(inner, bytes(inner.window - room))
    world.settle()
    over(world)
    world.settle_client()
    assert (channel.err == b"desk: It was stopped.\n") is (room == 22)


def test_nothing_is_said_behind_an_eof():
    """A client would cut that."""
    world = World()
    channel = shell_of(world, command="cat")
    world.do(world.splice.from_inner(messages.eof(channel.own)))
    world.settle_client()
    over(world)
    assert [p[0] for p in world.to_client] == [98, 97]


def test_who_waits_for_the_session_hears_of_its_end():
    """Sessions on stderr, forwards and listeners by a failure."""
    world = World()
    channel = decided(world, command="true")
    world.send(opening(b"direct-tcpip", 40))
    world.send(global_request(b"tcpip-forward"))
    world.globals.append(b"\x52")
    over(world)
    failure = next(p for p in world.to_client if p[0] == Message.OPEN_FAILURE)
    world.to_client.remove(failure)
    assert messages.string(failure, 9)[0] == b"It was stopped."
    world.settle_client()
    assert (channel.err, channel.status) == (b"desk: It was stopped.\n", 1)
    assert not world.globals
    world.close(channel)
    assert world.disconnected == "desk: It was stopped."


def test_a_client_that_was_held_is_read_again_at_the_end():
    """Its channels could not close otherwise."""
    world = World(Limits(waiting_packets=3))
    for number in range(4):
        world.send(opening(b"direct-tcpip", 40 + number))
    assert world.held
    over(world)
    assert not world.held


def test_nobody_is_bound_again_on_the_same_connection():
    """Whatever the client asks for while it drains."""
    world = World()
    channel = shell_of(world, command="cat")
    over(world)
    world.settle_client()
    decided(world, command="true")
    world.send(opening(b"direct-tcpip", 40))
    world.send(global_request(b"tcpip-forward"))
    assert not world.binds
    world.close(channel)
    assert not world.binds
    assert world.disconnected


# ----------------------------------------------------------------- what a person may not have


def without(allowance):
    """A client whose person may have all but that."""
    world = World()
    world.splice.allow(frozenset(Allowance) - {allowance})
    return world


@pytest.mark.parametrize("kind", [b"direct-tcpip", b"direct-streamlocal@openssh.com"])
def test_a_forward_that_is_not_allowed_is_refused_and_wants_no_desktop(kind):
    """The others still are."""
    path = pack_string(b"/tmp/x") if kind.startswith(b"direct-s") else b""
    for allowance, refused in ((Allowance.FORWARD_LOCAL, True), (Allowance.FORWARD_REMOTE, False)):
        world = without(allowance)
        world.send(opening(kind, 7) + path + pack_string(b"") + pack(0))
        assert [payload[0] for payload in world.to_client] == [Message.OPEN_FAILURE] * refused
        assert bool(world.binds) is not refused


def test_a_viewer_is_no_forward():
    """Its socket is how the desktop itself is shown."""
    world = without(Allowance.FORWARD_LOCAL)
    path = pack_string(b"/run/desk/xpra.sock")
    world.send(opening(b"direct-streamlocal@openssh.com", 7) + path + pack_string(b"") + pack(0))
    assert world.binds
    assert not world.to_client


@pytest.mark.parametrize("name", [b"tcpip-forward", b"streamlocal-forward@openssh.com"])
def test_a_listener_that_is_not_allowed_is_refused_and_wants_no_desktop(name):
    """The others still are."""
    for allowance, refused in ((Allowance.FORWARD_REMOTE, True), (Allowance.FORWARD_LOCAL, False)):
        world = without(allowance)
        world.send(global_request(name))
        assert [payload[0] for payload in world.to_client] == [Message.REQUEST_FAILURE] * refused
        assert bool(world.binds) is not refused


def replies(world, number):
    return [
        payload[0]
        for payload in world.to_client
        if payload[0] in (Message.SUCCESS, Message.FAILURE)
        and messages.uint32(payload, 1) == number
    ]


def test_an_early_answer_tells_what_is_refused():
    """And of the desktop's replies, none comes a second time."""
    world = without(Allowance.PTY)
    channel = world.open_session()
    channel.asked.extend([Message.FAILURE, Message.SUCCESS, Message.SUCCESS])
    world.send(request(channel.peer, b"pty-req", want=True))
    world.send(env(channel.peer, "x"))
    world.do(world.splice.optimistic_due())
    assert replies(world, channel.own) == [Message.FAILURE, Message.SUCCESS]
    world.send(request(channel.peer, b"shell", want=True))
    world.bind()
    world.settle()
    assert not channel.asked


def test_a_word_tells_what_is_refused_to_it():
    """Whoever wants a terminal for it hears that there is none."""
    world = without(Allowance.PTY)
    channel = world.open_session()
    channel.asked.extend([Message.FAILURE, Message.SUCCESS])
    world.send(request(channel.peer, b"pty-req", want=True))
    world.send(execute(channel.peer, "desk list"))
    assert replies(world, channel.own) == [Message.FAILURE, Message.SUCCESS]


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        (b"auth-agent-req@openssh.com", Allowance.AGENT),
        (b"x11-req", Allowance.X11),
        (b"pty-req", Allowance.PTY),
    ],
)
def test_a_request_that_is_not_allowed_keeps_its_place_under_no_name(name, needed):
    """Before the shell and behind it: the sshd never hears of it, and its reply is a refusal."""
    for allowance, passed in ((needed, b"refused@desk"), (Allowance.SFTP, name)):
        world = without(allowance)
        channel = world.open_session()
        answer = Message.SUCCESS if passed == name else Message.FAILURE
        channel.asked.extend([answer, Message.SUCCESS, answer])
        world.send(request(channel.peer, name, want=True))
        world.send(request(channel.peer, b"shell", want=True))
        world.bind()
        world.settle()
        world.send(request(channel.peer, name, want=True))
        world.settle()
        assert names(world) == [passed, b"shell", passed]
