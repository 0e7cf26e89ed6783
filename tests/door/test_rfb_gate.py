"""What a viewer may say to a desktop: each kind of message, by each right, however it is cut."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.gateway import Right
from broker.door.rfbgate import EXTENDED_CLIPBOARD, EXTENDED_MOUSE, Gate, Violation
from tests.door import rfb

ALL = frozenset(Right)
SHORT = {name: one for name, one in rfb.MESSAGES.items() if len(one[0]) < 5000}


def begun(rights):
    """A gate behind the handshake, of which it says what stands here."""
    gate = Gate(rights)
    said = gate.feed(rfb.HELLO)
    unasked = b"" if Right.CLIPBOARD_OUT in rights else rfb.TELL_ONLY
    assert said == b"RFB 003.008\n\x01\x01" + unasked
    return gate


def goes_on(wanted, rights):
    return wanted is not None and wanted <= rights


@pytest.mark.parametrize("name", rfb.MESSAGES)
@pytest.mark.parametrize("right", [None, *Right])
def test_a_message_goes_on_by_its_right_alone(name, right):
    """With nothing but the right, with all but it, and with all."""
    message, wanted = rfb.MESSAGES[name]
    for rights in (frozenset({right} - {None}), ALL - {right}, ALL):
        gate = begun(rights)
        assert gate.feed(message) == (message if goes_on(wanted, rights) else b""), rights
        assert gate.feed(rfb.fence(b"behind")) == rfb.fence(b"behind")


@given(
    names=st.lists(st.sampled_from(sorted(SHORT)), max_size=12),
    rights=st.frozensets(st.sampled_from(Right)),
    cuts=st.randoms(use_true_random=False),
)
def test_however_it_is_cut_the_same_goes_on(names, rights, cuts):
    """And nothing is kept once all is there."""
    stream = rfb.HELLO + b"".join(SHORT[name][0] for name in names)
    gate, out, at = Gate(rights), b"", 0
    while at < len(stream):
        count = cuts.choice([1, 2, 3, 5, 8, 13, 100, 5000])
        out += gate.feed(stream[at : at + count])
        at += count
    unasked = b"" if Right.CLIPBOARD_OUT in rights else rfb.TELL_ONLY
    passed = b"".join(SHORT[name][0] for name in names if goes_on(SHORT[name][1], rights))
    assert out == b"RFB 003.008\n\x01\x01" + unasked + passed
    assert not gate._held


@given(st.binary(min_size=400, max_size=2000))
@example(bytes(2000))
def test_what_is_no_viewer_controls_nothing(noise):
    """Without a right there is nothing to hit by chance: all that goes on is whole, and harmless."""
    gate = begun(frozenset())
    out = b""
    with suppress(Violation):
        for at in range(0, len(noise), 7):
            out += gate.feed(noise[at : at + 7])
    while out:
        head = {0: 20, 3: 10, 150: 10}.get(out[0])
        if out[0] == 2 and len(out) >= 4:
            head = 4 + 4 * int.from_bytes(out[2:4], "big")
        if out[0] == 248 and len(out) >= 9:
            head = 9 + out[8]
        assert head is not None, out[0]
        out = out[head:]


def test_most_of_what_is_no_viewer_is_refused():
    refused = 0
    for seed in range(2000):
        try:
            begun(ALL).feed(random.Random(seed).randbytes(200))  # noqa: S311 - no secret
        except Violation:
            refused += 1
    assert refused > 1950


@pytest.mark.parametrize(
    "kind", sorted(set(range(256)) - {0, 2, 3, 4, 5, 6, 150, 248, 250, 251, 255})
)
def test_a_kind_that_is_not_known_ends_it(kind):
    with pytest.raises(Violation, match=str(kind)):
        begun(ALL).feed(bytes((kind,)))


@pytest.mark.parametrize(
    "message",
    [
        rfb.encodings(*range(257)),
        rfb.fence(bytes(65)),
        struct.pack(">BBHII", 255, 1, 1, 65, 38),
        struct.pack(">BBH", 255, 1, 0),
        struct.pack(">Bxxxi", 6, (64 << 20) + 1),
        struct.pack(">Bxxxi", 6, -(64 << 20) - 1),
        struct.pack(">Bxxxi", 6, -(2**31)),
        struct.pack(">Bxxxi", 6, -1),
        struct.pack(">Bxxxi", 6, -3),
        rfb.extended(0),
        rfb.extended(rfb.REQUEST | rfb.PEEK),
        rfb.extended(rfb.REQUEST | rfb.PROVIDE | 1, b"x"),
        rfb.extended(1 << 29),
        rfb.extended(1 << 31),
    ],
)
def test_what_is_out_of_bounds_ends_it(message):
    with pytest.raises(Violation):
        begun(ALL).feed(message)


@pytest.mark.parametrize("smuggled", [rfb.key(65), rfb.size(9, 9), rfb.pointer(1, 1, 1)])
@pytest.mark.parametrize(
    "flags",
    [
        rfb.REQUEST | 1,
        rfb.PEEK,
        rfb.NOTIFY | 1,
        rfb.CAPS,
        rfb.CAPS | rfb.REQUEST | 1,
    ],
)
def test_nothing_hides_behind_the_end_of_what_the_server_reads(flags, smuggled):
    """It takes of these what their flags say, and what stands behind for the next message."""
    for rights in (frozenset({Right.CLIPBOARD_OUT, Right.CLIPBOARD_IN}), ALL):
        with pytest.raises(Violation):
            begun(rights).feed(rfb.extended(flags, smuggled))


def test_capabilities_are_as_long_as_their_formats():
    flags = rfb.CAPS | rfb.REQUEST
    for formats in (0, 1, 0x15, 0xFFFF):
        whole = rfb.extended(flags | formats, bytes(4 * formats.bit_count()))
        assert begun(ALL).feed(whole) == whole
        with pytest.raises(Violation):
            begun(ALL).feed(rfb.extended(flags | formats, bytes(4 * formats.bit_count() + 4)))


def test_pointers_have_one_length_whatever_the_viewer_offers():
    """Behind the eighth button there is no byte more: the server is never told that it may be."""
    gate = begun(ALL)
    assert gate.feed(rfb.encodings(7, EXTENDED_MOUSE, -239)) == rfb.encodings(7, -239)
    press = rfb.pointer(1, 1, 0x80)
    assert gate.feed(press + rfb.key(65)) == press + rfb.key(65)


def test_who_may_not_read_what_is_copied_is_told_no_more_than_that():
    """The server sends a text unasked to whoever does not know the dialect that asks for it, and to
    whoever says that it may.
    """
    gate = begun(ALL - {Right.CLIPBOARD_OUT})
    assert gate.feed(rfb.encodings(7)) == rfb.encodings(7, EXTENDED_CLIPBOARD)
    assert gate.feed(rfb.encodings()) == rfb.encodings(EXTENDED_CLIPBOARD)
    known = rfb.encodings(EXTENDED_CLIPBOARD, 7)
    assert gate.feed(known) == known
    assert gate.feed(rfb.extended(rfb.CAPS | rfb.PROVIDE | 1, b"\xff" * 4)) == b""
    assert begun(ALL).feed(rfb.encodings(7)) == rfb.encodings(7)


@pytest.mark.parametrize(
    "hello",
    [
        b"RFB 003.003\n",
        b"RFB 003.007\n",
        b"RFB 005.000\n",
        b"\x00",
        b"RFB 003.008\n\x02",
        b"RFB 003.008\n\x13",
        b"RFB 003.008\n\x01\x02",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_another_handshake_is_none(hello):
    with pytest.raises(Violation):
        Gate(ALL).feed(hello)


@pytest.mark.parametrize("shared", [0, 1])
def test_nobody_is_thrown_out(shared):
    assert Gate(ALL).feed(b"RFB 003.008\n\x01" + bytes((shared,))).endswith(b"\x01\x01")


def test_a_long_text_goes_on_as_it_comes():
    """Nothing of it is held, be it let through or not."""
    for rights, goes in ((ALL, True), (frozenset(), False)):
        gate = begun(rights)
        gate.feed(rfb.text(b"x" * (1 << 20))[:100])
        assert len(gate._held) < 12
        assert gate.feed(b"x" * 1000) == (b"x" * 1000 if goes else b"")


def test_what_is_not_decided_is_small():
    gate = begun(ALL)
    gate.feed(rfb.encodings(*range(256))[:-1])
    assert len(gate._held) == 4 + 4 * 256 - 1
