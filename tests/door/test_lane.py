"""The fast lane at the level of bytes: two wires joined in memory."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.door import messages
from broker.door.messages import pack
from tests.door.pair import (
    COMMON,
    KEY,
    LIMITS,
    WRAPPING,
    Sealer,
    counters,
    feed,
    joined,
    opened,
)


def payload(kind: int, number: int, size: int) -> bytes:
    if kind == 94:
        return messages.data(number, bytes(size))
    if kind == 93:
        return messages.window_adjust(number, size)
    if kind == 98:
        return messages.exit_status(number, size)
    if kind == 95:
        return messages.stderr(number, bytes(size))
    return messages.eof(number)


PACKETS = st.lists(
    st.tuples(
        st.sampled_from([93, 94, 94, 94, 95, 96, 98]),
        st.sampled_from([5, 2**30]),
        st.sampled_from([0, 1, 30, 400, 32768]),
    ),
    min_size=1,
    max_size=12,
)


def carried(sent: list[bytes], number: int) -> int:
    """Bytes of data on a channel; of stderr, the length of its type as well."""
    mine = [p for p in sent if messages.uint32(p, 1) == number]
    return sum(len(p) - 9 for p in mine if p[0] in (94, 95))


@settings(max_examples=150, deadline=None)
@given(PACKETS, st.lists(st.integers(1, 70_000), max_size=40), st.lists(st.booleans(), max_size=40))
def test_any_cut_and_any_change_of_lane_is_as_one_read(kinds, cuts, lanes):
    """Packets, nonces, sequence numbers and rekey budgets come out the same."""
    sent = [payload(*kind) for kind in kinds]
    seal = Sealer(KEY)
    stream = b"".join(seal.packet(p) for p in sent)
    whole, whole_inner = joined()
    feed(whole, stream)
    outer, inner = joined()
    try:
        rest = stream
        for k, cut in enumerate([*cuts, len(stream)]):
            COMMON.fast = lanes[k] if k < len(lanes) else True
            feed(outer, rest[:cut])
            rest = rest[cut:]
    finally:
        COMMON.fast = True
    got = opened(inner._transport.written, KEY)
    assert got == opened(whole_inner._transport.written, KEY)
    assert got == [messages.readdressed(p, outer.routes[messages.uint32(p, 1)]) for p in sent]
    for wire in (outer, whole):
        for number, target in wire.routes.items():
            assert wire.tally[target] == carried(sent, number)
    assert counters(outer) == counters(whole)
    assert counters(inner)[1:4] == counters(whole_inner)[1:4]


def test_a_nonce_s_counter_may_pass_its_end():
    """It begins at random: asyncssh's lane carries it over."""
    outer, inner = joined(WRAPPING)
    seal = Sealer(KEY, WRAPPING)
    feed(outer, b"".join(seal.packet(messages.data(5, b"x")) for _ in range(6)))
    assert opened(inner._transport.written, KEY, WRAPPING) == [messages.data(7, b"x")] * 6
    assert outer._recv_encryption.counter == inner._send_encryption.counter == 3


def switched(inner, near: socket.socket) -> bytes:
    """What 40 packets become that are read at once and go to that socket."""
    outer, known = joined()
    seal = Sealer(KEY)
    stream = b"".join(seal.packet(messages.data(5, bytes((k,)) * 3000)) for k in range(40))
    feed(outer, stream)
    inner._descriptor = near.fileno()
    feed(inner.peer, stream)
    return known._transport.written


def received(far: socket.socket) -> bytes:
    found = b""
    far.setblocking(False)
    with suppress(BlockingIOError):
        while data := far.recv(1 << 20):
            found += data
    return found


def test_packets_are_written_at_once():
    """The transport is not asked, and what it holds is not copied."""
    _, inner = joined()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        assert switched(inner, near) == received(far)
        assert inner._transport.written == b""


def test_what_the_system_does_not_take_waits_in_the_transport(monkeypatch):
    """In the order of the stream, and as a copy: the buffer is for the next read."""
    _, inner = joined()
    kept: list = []
    monkeypatch.setattr(inner._transport, "write", kept.append)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        expected = switched(inner, near)
        COMMON.buffers.sealed[:] = bytes(len(COMMON.buffers.sealed))
        taken = received(far)
        assert 0 < len(taken) < len(expected)
        assert taken + b"".join(kept) == expected


def test_nothing_overtakes_what_waits_in_the_transport(monkeypatch):
    """Not though the system would take it."""
    _, inner = joined()
    monkeypatch.setattr(inner._transport, "get_write_buffer_size", lambda: 1)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        assert switched(inner, near) == inner._transport.written
        assert received(far) == b""


def test_a_broken_socket_is_for_the_transport_to_find():
    """It knows how to end a connection."""
    _, inner = joined()
    near, far = socket.socketpair()
    with near:
        far.close()
        assert switched(inner, near) == inner._transport.written


def test_ignored_packets_vanish():
    """asyncssh's own and others' IGNORE messages are not passed on, and count."""
    outer, inner = joined()
    seal = Sealer(KEY)
    ignore = b"\x02" + messages.pack_string(b"x")
    feed(outer, seal.packet(ignore) + seal.packet(messages.eof(5)) + seal.packet(ignore))
    assert opened(inner._transport.written, KEY) == [messages.eof(7)]
    assert outer._recv_seq == 0


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


TAMPERED = {
    "mac": lambda s: s.packet(messages.data(5, b"x"))[:-1] + b"\0",
    "ciphertext": lambda s: flipped(s.packet(messages.data(5, b"x")), 9),
    "length": lambda s: pack(32) + s.packet(messages.data(5, b"x" * 20))[4:] + bytes(64),
    "length of zero": lambda s: bytes(4) + bytes(48),
    "length below a block": lambda s: pack(8) + bytes(48),
    "length no multiple of a block": lambda s: pack(40) + bytes(80),
    "length above the bound": lambda s: pack(LIMITS.packet + 16) + bytes(48),
    "length of 4 GiB": lambda s: b"\xff" * 4 + bytes(48),
    "no padding": lambda s: s.raw(b"\0" + messages.data(5, b"x" * 6)),
    "padding of 3": lambda s: s.raw(b"\x03" + messages.data(5, b"xxx") + bytes(3)),
    "padding above the packet": lambda s: s.raw(b"\xff" + messages.data(5, b"x" * 6)),
    "nothing but padding": lambda s: s.raw(b"\x0f" + bytes(15)),
}


@pytest.mark.parametrize("fault", TAMPERED)
@pytest.mark.parametrize("fast", [True, False])
def test_a_tampered_packet_ends_the_connection_behind_what_was_sound(fault, fast):
    """Sound packets before it are passed on, nothing of it or after it is."""
    outer, inner = joined()
    seal = Sealer(KEY)
    stream = seal.packet(messages.data(5, b"sound")) + TAMPERED[fault](seal)
    stream += seal.packet(messages.data(5, b"after"))
    transport = outer._transport
    COMMON.fast = fast
    try:
        feed(outer, stream + bytes(300_000))
    finally:
        COMMON.fast = True
    assert outer._transport is None
    assert transport.closed
    assert opened(inner._transport.written, KEY) == [messages.data(7, b"sound")]


@pytest.mark.parametrize("kind", [*range(101, 256)])
@pytest.mark.parametrize("fast", [True, False])
def test_unknown_messages_after_authentication_are_cut(kind, fast):
    """101 to 255 mean nothing here."""
    outer, inner = joined()
    COMMON.fast = fast
    try:
        feed(outer, Sealer(KEY).packet(bytes((kind,)) + pack(5) + bytes(8)))
    finally:
        COMMON.fast = True
    assert outer._transport is None
    assert inner._transport.written == b""


def test_a_packet_for_an_unknown_channel_goes_by_the_slow_lane():
    """The fast lane knows bound channels alone."""
    outer, inner = joined()
    seen = []
    outer.receiver.packet_received = lambda wire, p: seen.append(p)
    feed(outer, Sealer(KEY).packet(messages.data(6, b"x")))
    assert seen == [messages.data(6, b"x")]
    assert inner._transport.written == b""


def test_the_fast_lane_stops_at_the_peer_s_rekey_budget():
    """The packet that would pass it is given to asyncssh, which begins the exchange."""
    outer, inner = joined()
    inner._rekey_bytes = 100
    seal = Sealer(KEY)
    inner._send_kexinit = lambda: setattr(inner, "_kex_complete", False)
    feed(outer, b"".join(seal.packet(messages.data(5, bytes(40))) for _ in range(6)))
    assert len(opened(inner._transport.written, KEY)) == 2
    assert len(inner._deferred_packets) == 4
