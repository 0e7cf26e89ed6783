import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from broker.core.chain import BEGINNING, BEGUN, BROKEN, Chain, Walk
from broker.core.model import AuditEntry, AuditHead

CHAIN = Chain(b"k" * 32)
AT = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)


def entry(seq, **fields):
    return AuditEntry(
        **{
            "seq": seq,
            "at": AT,
            "actor": "user:ada",
            "proof": "key SHA256:a",
            "origin": "192.0.2.7",
            "action": "some.thing",
            "subject": "s",
            "detail": {"n": seq, "a": "b", "none": None, "yes": True},
            **fields,
        }
    )


def chained(*entries):
    """The entries with their hashes, and the note of the last one."""
    head, made = BEGINNING, []
    for one in entries:
        made.append(replace(one, hash=CHAIN.link(head.hash, one)))
        head = AuditHead(seq=one.seq, hash=made[-1].hash)
    return made, AuditHead(seq=head.seq, hash=CHAIN.seal(head))


def walk(entries, note, *, chain=CHAIN, start=BEGINNING):
    found = Walk(chain, start)
    all(found.step(one) for one in entries)
    return found.end(note)


@pytest.fixture
def five():
    return chained(*(entry(n) for n in range(1, 6)))


def test_what_is_whole_has_no_problem(five):
    entries, note = five
    found = walk(entries, note)
    last = AuditHead(seq=5, hash=entries[-1].hash)
    assert (found.entries, found.head, found.problem) == (5, last, None)
    assert walk([], BEGINNING).problem is None


def test_only_who_has_the_key_can_note_another_entry_as_the_last_one(five):
    """Each entry's own hash is there for everybody to see."""
    entries, _ = five
    cut = AuditHead(seq=4, hash=entries[3].hash)
    said = "Entry 4 is not what was noted as the last one."
    assert walk(entries[:4], cut).problem == said
    assert walk(entries[:4], replace(cut, hash=Chain(b"j" * 32).seal(cut))).problem == said
    assert walk(entries[:4], replace(cut, hash=CHAIN.seal(cut))).problem is None


def test_of_a_chain_that_has_begun_even_the_beginning_is_sealed():
    chain = Chain(b"k" * 32)
    chain.begun = True
    assert walk([], BEGINNING, chain=chain).problem is not None
    assert walk([], replace(BEGINNING, hash=chain.seal(BEGINNING)), chain=chain).problem is None


@pytest.mark.parametrize(
    "change",
    [
        {"at": AT + timedelta(microseconds=1)},
        {"actor": "user:eve"},
        {"proof": None},
        {"proof": "password"},
        {"origin": None},
        {"action": "some.others"},
        {"subject": "t"},
        {"detail": {"n": 3, "a": "b", "none": None, "yes": False}},
        {"detail": {"n": 3, "a": "b", "none": None, "yes": 1}},
        {"detail": {"n": 3, "a": "b", "yes": True}},
        {"hash": "0" * 64},
        {"hash": None},
    ],
)
def test_a_change_of_any_field_is_found_at_its_entry(five, change):
    entries, head = five
    entries[2] = replace(entries[2], **change)
    found = walk(entries, head)
    assert found.entries == 2
    assert found.problem.startswith("Entry 3 is not what was written there")


def test_fields_do_not_run_into_each_other():
    one, other = entry(1, action="ab", subject="c"), entry(1, action="a", subject="bc")
    assert CHAIN.link("", one) != CHAIN.link("", other)


def test_the_order_of_the_details_and_the_zone_of_the_time_are_no_change():
    one = entry(1, detail={"a": 1, "b": 2})
    east = AT.astimezone(timezone(timedelta(hours=2)))
    assert CHAIN.link("", one) == CHAIN.link("", entry(1, detail={"b": 2, "a": 1}, at=east))


def test_the_link_is_what_the_operations_page_says():
    """Whoever keeps the key can check an export without Desk: the form must not drift."""
    said = (
        '["%s",1,"2030-01-01T09:00:00.000000+00:00","user:ada","key SHA256:a","192.0.2.7",'
        '"some.thing","s",{"a":"b","n":1,"none":null,"yes":true}]'
    )
    expected = hmac.new(b"k" * 32, (said % ("0" * 64)).encode(), hashlib.sha256).hexdigest()
    assert CHAIN.link(BEGINNING.hash, entry(1)) == expected


def test_dropped_entries_are_named(five):
    entries, head = five
    assert walk(entries[:1] + entries[2:], head).problem == (
        "Entry 2 is missing, or entry 3 was changed."
    )
    assert walk(entries[:1] + entries[3:], head).problem == (
        "Entries 2 to 3 are missing, or entry 4 was changed."
    )
    assert walk(entries[1:], head).problem.startswith("Entry 1 is missing")


def test_swapped_entries_are_found(five):
    entries, head = five
    entries[1], entries[2] = replace(entries[2], seq=2), replace(entries[1], seq=3)
    assert walk(entries, head).problem.startswith("Entry 2 is not what was written there")


def test_an_inserted_entry_is_found(five):
    entries, head = five
    forged = entry(6)
    forged = replace(forged, hash=Chain(b"x" * 32).link(head.hash, forged))
    assert walk([*entries, forged], head).problem.startswith("Entry 6 is not what was written")


def test_a_cut_end_is_found(five):
    entries, head = five
    assert walk(entries[:3], head).problem == (
        "The audit ends at entry 3, and entry 5 was written: the end is missing."
    )
    assert "ends at entry 0" in walk([], head).problem


def test_a_head_that_was_set_back_or_changed_is_found(five):
    entries, head = five
    back = AuditHead(seq=4, hash=entries[3].hash)
    assert walk(entries, back).problem == (
        "Entry 4 was noted as the last one, and entry 5 is there."
    )
    other = replace(head, hash="0" * 64)
    assert walk(entries, other).problem == "Entry 5 is not what was noted as the last one."


def test_another_key_finds_nothing_whole(five):
    entries, head = five
    found = walk(entries, head, chain=Chain(b"x" * 32))
    assert found.entries == 0
    assert "or the audit's key is another one" in found.problem


def test_what_tells_that_it_is_not_whole_is_a_problem_until_one_starts_behind_it():
    broken = entry(3, action=BROKEN, detail={"why": "all entries were gone."})
    entries, head = chained(entry(1, action=BEGUN), entry(2), broken, entry(4))
    found = walk(entries, head)
    assert found.entries == 2
    assert found.problem == (
        "Entry 3 says that what is before it is not whole: all entries were gone."
    )
    start = AuditHead(seq=3, hash=entries[2].hash)
    found = walk(entries[3:], head, start=start)
    assert (found.entries, found.problem) == (1, None)
