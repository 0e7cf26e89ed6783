"""Places to start: first come, first served, but nobody alone holds up the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.errors import CapacityExhausted
from broker.service.starts import Place, Starts
from tests.clocks import ManualClock


class Wish:
    """One start: a task that waits for its place, and holds it until `end`."""

    def __init__(self, starts: Starts, user: str) -> None:
        loop = asyncio.get_running_loop()
        self.user = user
        self.places: list[Place] = []
        self.begun = False
        self.over = loop.create_future()
        self.task = loop.create_task(self._run(starts))

    def _moved(self, place: Place) -> None:
        assert not self.begun
        assert not self.task.done()
        self.places.append(place)

    async def _run(self, starts: Starts) -> None:
        async with starts.place(self.user, self._moved):
            self.begun = True
            await self.over

    @property
    def waits(self) -> bool:
        return not self.begun and not self.task.done()

    @property
    def positions(self) -> list[int]:
        return [place.position for place in self.places]

    def end(self) -> None:
        self.over.set_result(None)


async def settled() -> None:
    """Every task that can run has run: a place is handed on within a few passes of the loop."""
    for _ in range(6):
        await asyncio.sleep(0)


class Crowd:
    """Wishes of many, in one queue."""

    def __init__(self, *, at_once=2, waiting=10, per_user=2) -> None:
        self.clock = ManualClock()
        self.starts = Starts(at_once=at_once, waiting=waiting, per_user=per_user, clock=self.clock)
        self.wishes: list[Wish] = []

    async def come(self, *users: str) -> list[Wish]:
        come = [Wish(self.starts, user) for user in users]
        self.wishes += come
        await settled()
        return come

    async def end(self, *wishes: Wish) -> None:
        for wish in wishes:
            wish.end()
        await settled()

    async def leave(self, *wishes: Wish) -> None:
        for wish in wishes:
            wish.task.cancel()
        await settled()

    def begun(self) -> list[str]:
        return [wish.user for wish in self.wishes if wish.begun and not wish.task.done()]


@asynccontextmanager
async def crowd(**bounds):
    """Wishes that all are over at the end."""
    made = Crowd(**bounds)
    try:
        yield made
    finally:
        for wish in made.wishes:
            wish.task.cancel()
        await asyncio.gather(*(wish.task for wish in made.wishes), return_exceptions=True)
    assert made.starts.waiting == 0


# -------------------------------------------------------------------------------------- order


async def test_a_free_place_is_had_at_once_and_nobody_is_told_to_wait():
    """Without a word about a queue."""
    async with crowd(at_once=2) as people:
        ada, bob = await people.come("ada", "bob")
        assert ada.begun
        assert bob.begun
        assert ada.places == bob.places == []


async def test_places_are_had_in_the_order_of_coming_and_each_move_is_told():
    """Once for each position, and not when the place is had."""
    async with crowd(at_once=1) as people:
        first, *behind = await people.come("ada", "bob", "cara", "dan")
        assert people.starts.waiting == 3
        assert [wish.positions for wish in behind] == [[1], [2], [3]]
        await people.end(first)
        assert people.begun() == ["bob"]
        assert [wish.positions for wish in behind] == [[1], [2, 1], [3, 2]]
        await people.end(behind[0])
        await people.end(behind[1])
        assert people.begun() == ["dan"]
        assert [wish.positions for wish in behind] == [[1], [2, 1], [3, 2, 1]]
        assert people.starts.waiting == 0


async def test_whoever_has_their_share_under_way_lets_the_others_pass():
    """The third start of ada's waits while a place is free; bob's, who came later, has it."""
    async with crowd(at_once=3, per_user=2) as people:
        first, _, third, bob = await people.come("ada", "ada", "ada", "bob")
        assert people.begun() == ["ada", "ada", "bob"]
        assert third.positions == [1]
        await people.end(bob)
        assert third.waits
        await people.end(first)
        assert third.begun


async def test_a_user_whom_others_pass_is_told_that_the_way_got_longer():
    """1 is who will be next, not who came first."""
    async with crowd(at_once=2, per_user=1) as people:
        (cara,) = await people.come("cara")
        people.clock.advance(1)
        ada, again = await people.come("ada", "ada")
        assert again.positions == [1]
        (eve,) = await people.come("eve")
        assert (again.positions, eve.positions) == ([1, 2], [1])
        await people.end(cara)
        assert eve.begun
        assert again.waits
        assert again.positions == [1, 2, 1]
        await people.end(ada)
        assert again.begun


async def test_a_crowd_of_one_does_not_delay_sixty_others():
    """Served as fast as without the crowd, but for the two places that are its share."""
    async with crowd(at_once=4, waiting=1000, per_user=2) as people:
        await people.come(*["crowd"] * 100)
        others = await people.come(*[f"user-{n}" for n in range(60)])
        rounds = 0
        while any(wish.waits for wish in others):
            begun = [wish for wish in people.wishes if wish.begun and not wish.task.done()]
            assert Counter(wish.user for wish in begun)["crowd"] == 2
            assert len(begun) == 4
            await people.end(*begun)
            rounds += 1
        assert rounds == 29


# ------------------------------------------------------------------------------------- bounds


async def test_beyond_the_bound_one_is_refused_at_once_with_the_time_to_come_back():
    """For people in the sentence, for programs in seconds; nothing of it stays."""
    async with crowd(at_once=1, waiting=2) as people:
        first, *_ = await people.come("ada", "bob", "cara")
        people.clock.advance(20)
        await people.end(first)
        await people.come("dan")
        (late,) = await people.come("eve")
        refused = late.task.exception()
        assert isinstance(refused, CapacityExhausted)
        assert refused.retry_after == pytest.approx(60)
        assert refused.public == (
            "The queue for starting desktops is full (2 wait). Try again in about 1 min."
        )
        assert late.places == []
        assert people.starts.waiting == 2


async def test_nobody_fills_more_than_half_of_the_queue():
    """The other half is for the others; the sentence says that it is one's own share."""
    async with crowd(at_once=1, waiting=5) as people:
        await people.come("ada", "ada", "ada")
        (late,) = await people.come("ada")
        assert late.task.exception().public.startswith(
            "Your share of the queue for starting desktops is full (2 of yours wait). Try again"
        )
        *others, last = await people.come("bob", "cara", "dan", "eve")
        assert all(wish.waits for wish in others)
        assert last.task.done()


async def test_a_queue_of_one_is_for_anybody():
    """Half of one is none, but then nobody could wait."""
    async with crowd(at_once=1, waiting=1) as people:
        _, second, third = await people.come("ada", "ada", "bob")
        assert second.waits
        assert "is full (1 wait)" in third.task.exception().public


# ----------------------------------------------------------------------------------- estimates


async def test_the_estimate_begins_with_a_guess_and_learns_from_what_starts_take():
    """The first that ends counts whole, later ones by degrees; whatever is late is due soon."""
    async with crowd(at_once=1, waiting=20) as people:
        first, second = await people.come("ada", "bob")
        assert second.places[-1] == Place(1, pytest.approx(3))
        people.clock.advance(10)
        await people.end(first)
        (third, fourth) = await people.come("cara", "dan")
        assert third.places[-1] == Place(1, pytest.approx(10))
        assert fourth.places[-1] == Place(2, pytest.approx(20))
        people.clock.advance(4)
        assert (await people.come("eve"))[0].places[-1] == Place(3, pytest.approx(26))
        people.clock.advance(16)
        await people.end(second)  # 20 s: the average moves from 10 to 12
        assert fourth.places[-1] == Place(1, pytest.approx(12))
        people.clock.advance(100)
        (late,) = await people.come("fay")
        assert late.places[-1] == Place(3, pytest.approx(1 + 2 * 12))


async def test_a_clock_that_is_set_changes_no_estimate():
    """Only the monotonic one is read."""
    async with crowd(at_once=1) as people:
        first, _ = await people.come("ada", "bob")
        people.clock.jump(-86_400)
        await people.end(first)
        (cara,) = await people.come("cara")
        assert cara.places[-1].about == pytest.approx(1)


# --------------------------------------------------------------------------------- cancelling


async def test_a_waiting_one_that_leaves_lets_the_others_move_up():
    """And never has a place."""
    async with crowd(at_once=1) as people:
        first, bob, cara = await people.come("ada", "bob", "cara")
        await people.leave(bob)
        assert cara.positions == [2, 1]
        await people.end(first)
        assert people.begun() == ["cara"]
        assert not bob.begun


async def test_one_that_leaves_at_the_moment_of_its_turn_hands_the_place_on():
    """Its task was cancelled after the place was given, before it ran."""
    async with crowd(at_once=1) as people:
        first, bob, cara = await people.come("ada", "bob", "cara")
        first.end()
        while people.starts.waiting == 2:
            await asyncio.sleep(0)
        assert not bob.begun
        bob.task.cancel()
        await settled()
        assert bob.task.cancelled()
        assert people.begun() == ["cara"]


async def test_one_that_left_just_before_its_turn_is_passed_over():
    """It is cancelled already, though its task has not run since."""
    async with crowd(at_once=1) as people:
        first, bob, cara = await people.come("ada", "bob", "cara")
        first.end()
        bob.task.cancel()
        assert people.starts.waiting == 1
        await settled()
        assert people.begun() == ["cara"]
        assert not bob.begun


async def test_a_start_that_fails_gives_its_place_back():
    """Whatever it was."""
    starts = Starts(at_once=1, waiting=1, per_user=1, clock=ManualClock())
    for _ in range(3):
        with pytest.raises(OSError, match="broken"):
            async with starts.place("ada", lambda _place: None):
                raise OSError("broken")


async def test_a_listener_that_breaks_its_word_costs_nobody_a_place():
    """Its own start ends with the error; the queue goes on."""

    def broken(_place: Place) -> None:
        raise OSError("broken")

    async with crowd(at_once=1) as people:
        (first,) = await people.come("ada")
        with pytest.raises(OSError, match="broken"):
            async with people.starts.place("bob", broken):
                pass
        (cara,) = await people.come("cara")
        assert cara.positions == [1]
        await people.end(first)
        assert people.begun() == ["cara"]


# --------------------------------------------------------------------------------- all at once

USERS = ["ada", "bob", "cara", "dan"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(USERS)),
        st.tuples(st.just("end"), st.integers(0, 30)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.floats(0, 30)),
        st.tuples(st.just("run"), st.integers(1, 6)),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(
    steps=steps,
    at_once=st.integers(1, 3),
    waiting=st.integers(1, 8),
    per_user=st.integers(1, 3),
)
def test_no_place_is_lost_or_given_twice_whoever_comes_leaves_and_ends(
    steps, at_once, waiting, per_user
):
    """Tasks are cancelled at every moment, between a place given and taken too."""

    async def story() -> None:
        people = Crowd(at_once=at_once, waiting=waiting, per_user=per_user)
        for kind, value in steps:
            await _step(people, kind, value)
            _check_bounds(people, at_once, waiting, per_user)
        await settled()
        _check_rest(people, at_once, per_user)
        for wish in people.wishes:
            wish.task.cancel()
        await settled()
        assert people.starts.waiting == 0
        fresh = await people.come(*[f"new-{n}" for n in range(at_once)])
        assert all(wish.begun for wish in fresh)
        await people.end(*fresh)
        await asyncio.gather(*(wish.task for wish in people.wishes), return_exceptions=True)

    with asyncio.Runner() as runner:
        runner.run(story())


async def _step(people: Crowd, kind: str, value) -> None:
    """One thing happens; only `run` lets the tasks go on."""
    match kind:
        case "come":
            people.wishes.append(Wish(people.starts, value))
        case "end":
            running = [wish for wish in people.wishes if wish.begun and not wish.over.done()]
            if running:
                running[value % len(running)].end()
        case "leave" if people.wishes:
            people.wishes[value % len(people.wishes)].task.cancel()
        case "wait":
            people.clock.advance(value)
        case "run":
            for _ in range(value):
                await asyncio.sleep(0)


def _check_bounds(people: Crowd, at_once: int, waiting: int, per_user: int) -> None:
    """What holds at every moment."""
    begun = Counter(people.begun())
    assert begun.total() <= at_once
    assert all(count <= per_user for count in begun.values())
    assert people.starts.waiting <= waiting


def _check_rest(people: Crowd, at_once: int, per_user: int) -> None:
    """What holds when every task has run: nobody waits whom no bound holds."""
    begun = Counter(people.begun())
    waits = [wish for wish in people.wishes if wish.waits]
    assert people.starts.waiting == len(waits)
    if begun.total() < at_once:
        assert all(begun[wish.user] == per_user for wish in waits)
    assert sorted(wish.positions[-1] for wish in waits) == list(range(1, len(waits) + 1))
    assert all(place.about > 0 for wish in people.wishes for place in wish.places)
    for wish in people.wishes:
        if wish.task.done() and not wish.task.cancelled():
            assert isinstance(wish.task.exception(), CapacityExhausted | None)


@settings(max_examples=150)
@given(steps=steps, at_once=st.integers(1, 3), per_user=st.integers(1, 3))
def test_whoever_wishes_once_only_ever_moves_forward(steps, at_once, per_user):
    """However many come behind, leave or have more than their share."""

    async def story() -> None:
        people = Crowd(at_once=at_once, waiting=1000, per_user=per_user)
        for number, (kind, value) in enumerate(steps):
            await _step(people, kind, value)
            if kind == "come" and number % 2:
                people.wishes.append(Wish(people.starts, f"once-{number}"))
        await settled()
        for wish in people.wishes:
            if wish.user.startswith("once-"):
                assert wish.positions == sorted(set(wish.positions), reverse=True)
            wish.task.cancel()
        await asyncio.gather(*(wish.task for wish in people.wishes), return_exceptions=True)

    with asyncio.Runner() as runner:
        runner.run(story())
