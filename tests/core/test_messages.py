"""The messages of the gateway as they go over the wire."""

from __future__ import annotations

import hashlib
from dataclasses import is_dataclass
from typing import get_args

import pytest

from broker.core import errors, gateway, messages
from broker.core.codec import _is_union, _parts
from broker.core.messages import TO_BROKER, TO_DOOR, Refusal, ToBroker, ToDoor

#: What the messages of a protocol are. Whoever changes a message gives the protocol a new name, and
#: its digest a line here; the old one goes.
DIGESTS = {"desk-gateway-5": "1f471be93492a766"}


def form(kind, seen):
    """All that says what may stand in a message, as text."""
    if _is_union(kind):
        return " | ".join(sorted(form(part, seen) for part in get_args(kind)))
    if get_args(kind):
        return f"{kind.__name__}[{', '.join(form(part, seen) for part in get_args(kind))}]"
    if is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        parts = ", ".join(f"{name}: {form(part, seen)}" for name, part in _parts(kind).items())
        return f"{kind.__name__}({parts})"
    if hasattr(kind, "__members__"):
        return f"{kind.__name__}({', '.join(kind.__members__.values())})"
    return getattr(kind, "__name__", str(kind))


def test_a_change_of_the_messages_is_another_protocol():
    """Doors outlive brokers: an older door would take a newer broker's words for its own."""
    text = form(ToBroker, set()) + "\n" + form(ToDoor, set())
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert {messages.PROTOCOL: digest} == DIGESTS, "see DIGESTS"


@pytest.mark.parametrize("kind", [errors.NotFound, errors.PortTaken, errors.DeskError])
def test_a_refusal_is_the_error_again(kind):
    """With what the user reads, and nothing for the operator."""
    raised = kind(7) if kind is errors.PortTaken else kind("a secret")
    back = TO_DOOR.read(TO_DOOR.write(Refusal.of(1, raised))).error
    assert type(back) is kind
    assert (back.told, str(back)) == (raised.told, raised.public)


@pytest.mark.parametrize("kind", [errors.Blocked, errors.CapacityExhausted, errors.HeldBack])
@pytest.mark.parametrize("after", [None, 90])
def test_a_refusal_for_a_while_says_for_how_long(kind, after):
    raised = kind(retry_after=after)
    back = Refusal.of(1, raised).error
    assert (back.retry_after, back.public) == (after, raised.public)


def test_a_code_that_nobody_knows_is_an_error_all_the_same():
    back = Refusal(1, "newer", "It is so.", None).error
    assert (type(back), back.public) == (errors.DeskError, "It is so.")


def test_the_key_of_a_session_is_in_no_text_for_people():
    route = gateway.Route(
        session_id="s",
        desktop_id="d",
        desktop="main",
        display=1,
        user="desk",
        endpoints=(),
        host_key="h",
        client_key="hunter2",
    )
    answer = messages.Answer(1, route)
    assert "hunter2" not in repr(answer)
    assert TO_DOOR.read(TO_DOOR.write(answer)) == answer
    with pytest.raises(ValueError) as error:
        TO_BROKER.read(TO_DOOR.write(answer))
    assert "hunter2" not in str(error.value)
