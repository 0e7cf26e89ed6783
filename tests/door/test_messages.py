"""Messages: building and reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.door import messages
from broker.door.messages import ProtocolViolation


@given(st.binary(max_size=80), st.integers(0, 90))
def test_reading_stays_within_the_packet(payload, offset):
    """What is short is a violation, and never an index error or a wrong length."""
    try:
        text, end = messages.string(payload, offset)
    except ProtocolViolation:
        return
    assert end <= len(payload)
    assert payload[end - len(text) : end] == text


@pytest.mark.parametrize("read", [messages.uint32, messages.string, messages.boolean])
def test_nothing_is_read_behind_the_end(read):
    """Each reader says so."""
    with pytest.raises(ProtocolViolation):
        read(b"\0\0\0", 3)


def test_a_string_longer_than_its_packet_is_refused():
    with pytest.raises(ProtocolViolation):
        messages.string(b"\xff\xff\xff\xffabc", 0)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_what_is_built_can_be_read(number, text):
    """Numbers and strings survive the way there and back."""
    packet = messages.data(number, text)
    assert packet[0] == 94
    assert messages.uint32(packet, 1) == number
    assert messages.string(packet, 5) == (text, len(packet))
    error = messages.stderr(number, text)
    assert messages.uint32(error, 5) == 1
    assert messages.string(error, 9) == (text, len(error))


def test_a_refused_request_keeps_channel_and_wish_for_a_reply():
    """And loses its arguments."""
    request = b"\x62" + messages.pack(9) + messages.pack_string(b"tun") + b"\1" + b"arguments"
    renamed = messages.renamed(request, b"no@desk")
    assert renamed == b"\x62" + messages.pack(9) + messages.pack_string(b"no@desk") + b"\1"
    assert messages.wants_reply(renamed)


def test_an_exit_status_is_cut_to_32_bits():
    assert messages.exit_status(1, -1)[-4:] == b"\xff" * 4
