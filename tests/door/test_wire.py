"""Holds, key exchanges and keepalives of a wire, in memory."""

from __future__ import annotations

import pytest
from asyncssh import ProtocolError

from broker.door import messages
from broker.door.holds import Held
from broker.door.limits import Limits
from broker.door.messages import pack
from broker.door.pace import Pace
from tests.door.pair import COMMON, KEY, OTHER, Sealer, Transport, feed, joined, opened


class Recording(Transport):
    def __init__(self) -> None:
        super().__init__()
        self.reading = True
        self.size = 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.size


@pytest.fixture
def wires():
    outer, inner = joined()
    for wire in (outer, inner):
        wire._transport = wire._stream = Recording()
    outer.clock = outer._loop
    return outer, inner


def test_a_full_transport_holds_the_other_side(wires):
    """What a slow client does not take is not read from its desktop."""
    outer, inner = wires
    outer.pause_writing()
    assert not inner._transport.reading
    assert outer._transport.reading
    outer.resume_writing()
    assert inner._transport.reading


def test_reading_resumes_when_the_last_reason_is_gone(wires):
    outer, _ = wires
    outer.hold(Held.LATE)
    outer.hold(Held.FULL)
    outer.release(Held.LATE)
    assert not outer._transport.reading
    outer.release(Held.FULL)
    assert outer._transport.reading


def test_a_key_exchange_holds_the_other_side_but_not_one_in_its_own(wires):
    """Two at once would wait for each other."""
    outer, inner = wires
    outer._send_kexinit()
    assert not inner._transport.reading
    inner._send_kexinit()
    assert inner._transport.reading
    assert outer._transport.reading
    inner.hold(Held.FULL)
    assert not inner._transport.reading


def test_a_read_that_brought_all_it_could_is_not_followed_by_others_without_end(wires):
    """One who sends faster than the door reads leaves the others their turn, soon where there are
    any.
    """
    outer, inner = wires
    outer.routes = inner.routes = {5: pack(7)}
    mine, other = Sealer(KEY), Sealer(OTHER)

    def read(wire, seal, room: int) -> bool:
        """Whether it is read on at once after a read for which there was so much room."""
        data = seal.packet(messages.data(5, bytes(1000)))
        view = wire.get_buffer(-1)
        view[: len(data)] = data
        wire._room = room or len(data)
        wire.buffer_updated(len(data))
        reading = wire._transport.reading
        wire._loop.pass_(0)
        assert wire._transport.reading
        return reading

    some = 1 << 17
    COMMON.reader = None
    assert all(read(outer, mine, some) for _ in range(4))
    assert not any(read(outer, mine, 0) for _ in range(3))
    assert read(inner, other, some)
    assert [read(outer, mine, 0) for _ in range(5)] == [False, True, True, True, False]
    stranger = joined()[0]
    stranger._transport = Recording()
    stranger.routes = {5: pack(7)}
    assert read(stranger, Sealer(KEY), some)
    assert not any(read(outer, mine, 0) for _ in range(8))


def test_a_turn_of_the_others_ends_no_hold(wires):
    """Neither one that was there before nor one that began meanwhile."""
    outer, _ = wires
    outer.let_others()
    outer.hold(Held.FULL)
    outer._loop.pass_(0)
    assert not outer._transport.reading
    outer.let_others()
    outer._loop.pass_(0)
    assert not outer._transport.reading
    outer.release(Held.FULL)
    assert outer._transport.reading


def test_replies_that_nobody_reads_stop_the_reading(wires):
    """The door's own words count against who leaves them unread."""
    outer, _ = wires
    outer.reply(messages.failure(1))
    assert outer._transport.reading
    outer._transport.size = Limits().own_replies + 1
    outer.reply(messages.failure(1))
    assert not outer._transport.reading
    outer.resume_writing()
    assert outer._transport.reading


def test_what_waits_for_a_key_exchange_is_bounded(wires):
    """4 MiB, then the connection is cut."""
    outer, _ = wires
    outer._send_kexinit()
    transport = outer._transport
    for _ in range(127):
        outer.forward(messages.data(1, bytes(32_768)))
    assert outer._transport is transport
    outer.forward(messages.data(1, bytes(32_768)))
    assert outer._transport is None


def test_an_exchange_must_end_in_time_that_the_door_reads(wires):
    """30 seconds; those in which the door does not read are not the peer's."""
    outer, _ = wires
    outer._send_kexinit()
    outer.hold(Held.FULL)
    outer.clock.pass_(100)
    assert outer._transport is not None
    outer.release(Held.FULL)
    outer.clock.pass_(29)
    assert outer._transport is not None
    outer.clock.pass_(2)
    assert outer._transport is None


def test_a_peer_begins_so_many_exchanges_in_a_minute(wires):
    """Twenty without data; an exchange after half a megabyte is free."""
    outer, _ = wires
    for _ in range(20):
        outer._count_rekey()
    for _ in range(100):
        outer._received += 512 * 1024
        outer._count_rekey()
    with pytest.raises(ProtocolError):
        outer._count_rekey()
    outer.clock.pass_(61)
    outer._count_rekey()


def test_an_exchange_that_the_door_began_is_not_counted(wires):
    outer, _ = wires
    outer._kexinit_sent = True
    for _ in range(100):
        outer._count_rekey()


def test_a_second_s_packets_are_bounded(wires):
    """The reading pauses until the second is over."""
    outer, _ = wires
    outer._heard = outer.clock.now
    outer.spent(30_000)
    assert outer._transport.reading
    outer.spent(1)
    assert not outer._transport.reading
    outer.clock.pass_(1.1)
    assert outer._transport.reading


def test_a_live_peer_is_not_asked_and_a_silent_one_is(wires):
    """A read counts as life without a timer of its own; so does a wire that is not read."""
    outer, _ = wires
    asked = []
    outer.create_task = lambda work: (work.close(), asked.append(outer.clock.now))
    outer._keepalive_interval = 30
    outer._keepalive_count_max = 3
    outer._heard = outer.clock.now
    outer._set_keepalive_timer()
    outer.clock.pass_(20)
    feed(outer, Sealer(KEY).packet(messages.data(5, b"x")))
    outer.clock.pass_(25)
    assert not asked
    outer.hold(Held.FULL)
    outer.clock.pass_(300)
    assert not asked
    outer.release(Held.FULL)
    outer.clock.pass_(70)
    assert asked
    outer.clock.pass_(200)
    assert outer._transport is None


def test_nothing_is_written_to_a_connection_that_closes(wires):
    """asyncio would log each attempt."""
    outer, _ = wires
    outer._transport.closed = True
    outer.forward(messages.data(1, b"x"))
    assert outer._transport.written == b""


def test_what_was_written_is_sent_before_the_end(wires):
    """The transport is closed, and cut only after a while."""
    outer, _ = wires
    transport = outer._transport
    ends = []
    transport.abort = lambda: ends.append(outer.clock.now)
    outer.say_goodbye("bye")
    assert transport.closed
    outer.clock.pass_(29)
    assert not ends
    outer.clock.pass_(2)
    assert ends


@pytest.mark.parametrize("stage", ["kex", "newkeys"])
def test_channel_packets_within_a_key_exchange_are_cut(wires, stage):
    """Between a peer's KEXINIT and its NEWKEYS it may send none."""
    outer, inner = wires
    if stage == "kex":
        outer._kex = object()
    else:
        outer._next_recv_encryption = outer._recv_encryption
    feed(outer, Sealer(KEY).packet(messages.data(5, b"x")))
    assert outer._transport is None
    assert inner._transport.written == b""


SMALL = Limits(login_timeout=0, packets_per_second=100)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", [2, 3, 4, 8])
def test_a_read_full_of_small_messages_is_handled_a_second_s_share_at_a_time(
    wires, monkeypatch, side, fast, kind
):
    """Of the client's and of the desktop's; what comes behind them keeps its place."""
    wire, peer = wires[side], wires[1 - side]
    wire.routes = {5: pack(7)}
    monkeypatch.setattr(COMMON, "limits", SMALL)
    monkeypatch.setattr(COMMON, "fast", fast)
    wire._pace = Pace(SMALL.packets_per_second)
    seal = Sealer((KEY, OTHER)[side])
    message = bytes((kind,)) + pack(0) + b"\0" * 5
    first = wire._recv_seq
    feed(wire, b"".join(seal.packet(message) for _ in range(60)) + seal.packet(messages.eof(5)))
    seconds = 0
    while not peer._transport.written:
        assert not wire._transport.reading
        assert (wire._recv_seq - first) % 2**32 <= (seconds + 1) * 34
        wire._loop.pass_(1.0)
        seconds += 1
        assert seconds < 10
    wire._loop.pass_(1.0)
    assert wire._transport.reading
    assert opened(peer._transport.written, (KEY, OTHER)[side]) == [messages.eof(7)]
    assert not wire._waiting
    assert not wire._inpbuf
    assert not wire._left


def test_what_waits_behind_a_packet_that_asyncssh_takes_time_for_is_not_forgotten(wires):
    """It goes on when asyncssh is done, though asyncssh itself holds nothing."""
    outer, inner = wires
    outer._recv_handler = lambda: False
    outer._stock(Sealer(KEY).packet(messages.eof(5)))
    assert outer._waiting
    outer._finish_recv_packet(20, outer._recv_seq, is_async=True)
    assert opened(inner._transport.written, KEY) == [messages.eof(7)]


def test_answers_to_nonsense_that_nobody_reads_stop_the_reading(wires):
    """asyncssh answers each message that it does not know."""
    outer, _ = wires
    outer._transport.size = outer.common.limits.own_replies + 1
    feed(outer, Sealer(KEY).packet(bytes((8,)) + bytes(8)))
    assert not outer._transport.reading
    outer.resume_writing()
    assert outer._transport.reading
