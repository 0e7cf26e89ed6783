"""What fails several times in a row is held back, and never by one person for the others."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import CapacityExhausted, HeldBack
from broker.http.problems import problems
from broker.service import holdback
from broker.service.holdback import Holdback
from tests.clocks import ManualClock

IMAGE = "sha256:1"


class Starts:
    """Starts of desktops, named by their owner: `ada`, or `ada/2` for another one of hers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.advance(1000)
        self.holdback = Holdback(self.clock)

    def may(self, desktop: str, image: str = IMAGE) -> bool:
        return self.held(desktop, image) is None

    def held(self, desktop: str, image: str = IMAGE) -> HeldBack | None:
        try:
            self.holdback.check(desktop_id=desktop, image=image)
        except HeldBack as error:
            return error
        return None

    def fail(self, *desktops: str, image: str = IMAGE, reason: str = "it died") -> None:
        for desktop in desktops:
            self.holdback.failed(
                desktop_id=desktop, user_id=desktop.split("/")[0], image=image, reason=reason
            )

    def succeed(self, desktop: str, image: str = IMAGE) -> None:
        self.holdback.succeeded(desktop_id=desktop, image=image)


@pytest.fixture
def starts():
    return Starts()


# ------------------------------------------------------------------------------------ desktops


def test_a_desktop_is_held_back_after_three_failures_in_a_row_and_no_other(starts):
    """Two are bad luck."""
    starts.fail("ada", "ada")
    assert starts.may("ada")
    starts.fail("ada", reason="it did not answer within 90 s")
    held = starts.held("ada")
    assert held.retry_after == 30
    assert held.public == (
        "Your desktop failed to start 3 times in a row (it did not answer within 90 s):"
        " the next try is possible in about 30 s."
    )
    assert starts.may("ada/2")
    assert starts.may("bob")


def test_failures_that_are_not_in_a_row_hold_nothing_back(starts):
    """A success between them begins the count anew."""
    for _ in range(5):
        starts.fail("ada", "ada")
        starts.succeed("ada")
    assert starts.may("ada")


def test_each_hold_of_a_desktop_is_twice_as_long_up_to_ten_minutes(starts):
    """One try after each, and the time counts from its failure."""
    starts.fail("ada", "ada")
    lasted = []
    for _ in range(7):
        assert starts.may("ada")
        starts.clock.advance(20)
        starts.fail("ada")
        lasted.append(starts.held("ada").retry_after)
        starts.clock.advance(lasted[-1] - 0.5)
        assert starts.held("ada").retry_after == 0.5
        starts.clock.advance(0.5)
    assert lasted == [30, 60, 120, 240, 480, 600, 600]


def test_after_a_hold_one_try_goes_through_and_its_success_ends_all(starts):
    """Whoever comes with it waits for what it brings."""
    starts.fail("ada", "ada", "ada")
    starts.clock.advance(30)
    assert starts.may("ada")
    assert not starts.may("ada")
    starts.succeed("ada")
    assert starts.may("ada")
    starts.fail("ada", "ada")
    assert starts.may("ada")


def test_a_try_whose_end_nobody_tells_does_not_close_the_way_for_good(starts):
    """It was refused elsewhere, or stopped: the next one goes through half a minute later."""
    starts.fail("ada", "ada", "ada")
    starts.clock.advance(30)
    assert starts.may("ada")
    starts.clock.advance(29)
    assert starts.held("ada").retry_after == 1
    starts.clock.advance(1)
    assert starts.may("ada")


def test_a_failure_of_what_nobody_asked_about_prolongs_no_hold(starts):
    """A start that goes on after a restart is not the try."""
    starts.fail("ada", "ada", "ada")
    starts.clock.advance(10)
    starts.fail("ada")
    assert starts.held("ada").retry_after == 20
    assert "4 times" in starts.held("ada").public


def test_a_clock_that_is_set_moves_no_hold(starts):
    """Only the monotonic one is read."""
    starts.fail("ada", "ada", "ada")
    starts.clock.jump(86_400)
    assert starts.held("ada").retry_after == 30


# -------------------------------------------------------------------------------------- images


def test_an_image_is_held_back_after_three_different_users_failed(starts):
    """For everybody, with the newest reason; other images go on."""
    starts.fail("ada", "bob")
    assert starts.may("dan")
    starts.fail("cara", reason="its container exited with code 1.")
    held = starts.held("dan")
    assert held.retry_after == 30
    assert held.public == (
        "The image of your desktop failed to start 3 times in a row, for several people"
        " (its container exited with code 1): the next try is possible in about 30 s."
    )
    assert IMAGE in str(held)
    assert starts.may("dan", image="sha256:2")


def test_nobody_alone_holds_back_an_image(starts):
    """With all their desktops, however often; two people neither."""
    for number in range(50):
        starts.fail(f"ada/{number}", f"ada/{number}", f"bob/{number}")
    assert starts.may("cara")


def test_any_success_with_the_image_ends_its_hold(starts):
    """One that began before the hold as well, and it begins the count of users anew."""
    starts.fail("ada", "bob", "cara")
    assert not starts.may("dan")
    starts.succeed("eve")
    assert starts.may("dan")
    starts.fail("ada", "bob")
    assert starts.may("dan")


def test_each_hold_of_an_image_is_twice_as_long_up_to_ten_minutes(starts):
    """One try of whoever comes first; the others wait for its end."""
    starts.fail("ada", "bob", "cara")
    lasted = [starts.held("new").retry_after]
    for number in range(6):
        starts.clock.advance(lasted[-1])
        assert starts.may(f"user-{number}")
        assert not starts.may("new")
        starts.clock.advance(10)
        starts.fail(f"user-{number}")
        lasted.append(starts.held("new").retry_after)
    assert lasted == [30, 60, 120, 240, 480, 600, 600]


def test_failures_that_began_before_the_hold_do_not_prolong_it(starts):
    """Ten starts were under way together when the image broke: one hold, not seven."""
    starts.fail(*[f"user-{n}" for n in range(10)])
    assert starts.held("new").retry_after == 30


def test_a_try_that_takes_longer_than_the_next_one_still_counts(starts):
    """Starts that time out after a minute and a half prolong the hold too."""
    starts.fail("ada", "bob", "cara")
    starts.clock.advance(30)
    for number in range(3):
        assert starts.may(f"user-{number}")
        starts.clock.advance(30)
    starts.fail("user-0")
    assert starts.held("new").retry_after == 60
    starts.fail("user-1", "user-2")
    assert starts.held("new").retry_after == 60


def test_whoever_failed_last_prolongs_no_hold_by_failing_again(starts):
    """A broken home takes the tries of one person, not those of the others."""
    starts.fail("ada", "bob", "cara")
    starts.clock.advance(30)
    assert starts.may("dan")
    starts.fail("dan")
    starts.clock.advance(60)
    assert starts.may("dan")  # known to fail, so no try that others wait for
    assert starts.may("eve")  # the one that they do
    assert not starts.may("fay")
    starts.fail("dan")
    assert starts.held("fay").retry_after == 30
    starts.clock.advance(30)
    assert starts.may("dan/2")  # not known, so it is one
    assert not starts.may("fay")


def test_a_failure_that_prolongs_no_hold_lets_the_next_try_through(starts):
    """At once, and however often that desktop was let through before."""
    starts.fail("ada", "bob", "cara")
    for _ in range(2):
        starts.clock.advance(30)
        assert starts.may("cara/2")
    starts.fail("cara/2")
    assert starts.may("eve")


def test_a_failure_that_tells_nothing_ends_no_other_try(starts):
    """Two are out; the one of whoever failed last is forgotten alone."""
    starts.fail("ada", "bob", "cara")
    starts.clock.advance(30)
    assert starts.may("cara/2")
    starts.clock.advance(30)
    assert starts.may("dan")
    starts.fail("cara/2")
    assert not starts.may("eve")
    starts.fail("dan")
    assert starts.held("eve").retry_after == 60


def test_the_later_of_two_holds_is_told_and_uses_up_no_try(starts):
    """A desktop that the image holds back keeps its own try for later."""
    starts.fail("ada", "ada", "ada")
    starts.clock.advance(29)
    starts.fail("bob", "cara")
    assert starts.held("ada").retry_after == 30
    assert starts.held("ada").public.startswith("The image of your desktop")
    starts.clock.advance(30)
    assert starts.may("ada")


# ----------------------------------------------------------------------- what is told and kept


@given(reason=st.text(max_size=400))
def test_a_reason_is_told_on_one_line_bounded_and_safe_to_print(reason):
    """Whatever a program inside wrote."""
    starts = Starts()
    starts.fail("ada", "ada", "ada", reason=reason)
    public = starts.held("ada").public
    assert public.isprintable()
    assert len(public) < 280
    assert "row ():" not in public
    assert public.endswith(": the next try is possible in about 30 s.")


def test_a_long_reason_is_cut_where_it_shows(starts):
    """The end of it stands in the log."""
    starts.fail("ada", "ada", "ada", reason="x" * 1000 + "\x1b[2J")
    assert f"({'x' * 159}…)" in starts.held("ada").public


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(starts, monkeypatch):
    """By desktop and by image; a failure makes both the newest. Of an image's users three are."""
    monkeypatch.setattr(holdback, "_MOST", 3)
    for name in ("ada", "bob", "cara"):
        starts.fail(name, name, name, image=f"of-{name}")
    starts.fail("ada", image="of-ada")
    starts.fail("dan", image="of-dan")
    assert len(starts.holdback._desktops) == len(starts.holdback._images) == 3
    assert starts.may("bob", image="other")
    assert not starts.may("ada", image="other")
    assert not starts.may("cara", image="other")
    starts.fail(*[f"user-{n}" for n in range(9)])
    assert len(starts.holdback._images[IMAGE].users) == 3


DESKTOPS = ["ada", "ada/2", "bob", "bob/2", "cara", "dan", "eve"]

events = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from(DESKTOPS), st.sampled_from("fsn")),
        st.tuples(st.just("late"), st.sampled_from(DESKTOPS), st.sampled_from("fs")),
        st.tuples(st.just("wait"), st.floats(0, 300), st.none()),
    ),
    max_size=80,
)


@given(events=events)
def test_nothing_is_held_back_without_cause_or_for_good(events):
    """Three failures in a row of a desktop, or of three users; ten minutes later one may try."""
    starts, row, users = Starts(), Counter(), set()

    def end(desktop, outcome):
        if outcome == "f":
            starts.fail(desktop)
            row[desktop] += 1
            users.add(desktop.split("/")[0])
        elif outcome == "s":
            starts.succeed(desktop)
            del row[desktop]
            users.clear()

    for kind, what, outcome in events:
        if kind == "wait":
            starts.clock.advance(what)
        elif kind == "late":
            end(what, outcome)
        else:
            held = starts.held(what)
            if held is None:
                end(what, outcome)
            else:
                assert row[what] >= 3 or len(users) >= 3
                assert 0 < held.retry_after <= 600
    starts.clock.advance(600)
    assert starts.may("new")


@given(
    waits=st.lists(st.floats(0, 90), max_size=60),
    own=st.lists(st.integers(0, 4), min_size=60, max_size=60),
)
def test_one_person_who_goes_on_failing_delays_the_others_by_one_hold_and_their_own_tries(
    waits, own
):
    """Three met a broken image, it was mended, and somebody whose homes are broken goes on."""
    starts = Starts()
    starts.fail("ada", "bob", "cara")
    longest = 0.0
    for wait, number in zip(waits, own, strict=False):
        if starts.may(f"dan/{number}"):
            starts.clock.advance(5)
            starts.fail(f"dan/{number}")
        held = starts.holdback._images[IMAGE].left(starts.clock.monotonic())
        longest = max(longest, held)
        starts.clock.advance(wait)
    assert longest <= 60
    starts.clock.advance(60)
    assert starts.may("eve")


# ---------------------------------------------------------------------------- told to programs


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (CapacityExhausted(), "60"),
        (CapacityExhausted(retry_after=39.2), "40"),
        (HeldBack(), "60"),
        (HeldBack(retry_after=0.01), "1"),
        (HeldBack(retry_after=600.0), "600"),
    ],
)
async def test_the_api_tells_programs_when_to_come_back(error, after):
    """In whole seconds, never too early; a minute where nobody can tell."""

    async def refuse(_request):
        raise error

    answer = await problems(make_mocked_request("POST", "/"), refuse)
    assert isinstance(answer, web.Response)
    assert (answer.status, answer.headers["Retry-After"]) == (429, after)
    assert json.loads(answer.text)["detail"] == error.public


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            CapacityExhausted(retry_after=39.2),
            "All places are taken just now. Try again in about 40 s.",
        ),
        (CapacityExhausted(public="No room.", retry_after=0), "No room. Try again in about 1 s."),
        (
            HeldBack(public="It failed", retry_after=90),
            "It failed: the next try is possible in about 1 min 30 s.",
        ),
        (
            HeldBack(retry_after=1),
            "Your desktop failed to start several times in a row: the next try is possible in about 1 s.",
        ),
    ],
)
def test_the_sentence_tells_the_time_that_the_error_carries(error, sentence):
    """In words, rounded up."""
    assert error.public == sentence
