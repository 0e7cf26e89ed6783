"""Many people at once, and one person many times at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture
def desk(new_desk):
    instance = new_desk()
    instance.start()
    return instance


@pytest.mark.alone
def test_twenty_users_in_the_same_second_get_twenty_desktops(desk):
    """20 containers, ports, displays, addresses and uids, all different, and no error."""
    people = [desk.person(f"user{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda p: desk.ssh(p, "echo $DISPLAY; hostname", timeout=300), people))
    assert [d.stderr for d in done if d.returncode or d.stderr] == []
    assert len({d.stdout for d in done}) == 20
    sessions = desk.listing("sessions")
    for field in ("id", "desktop_id", "port", "display", "address"):
        assert len({session[field] for session in sessions}) == 20, field
    assert len({d["uid"] for d in desk.listing("desktops")}) == 20
    assert len(desk.containers()) == 20


def test_one_user_ten_times_in_the_same_second_gets_one_container(desk):
    """All ten land in the same desktop."""
    ada = desk.person("ada")
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: desk.ssh(ada, "hostname"), range(10)))
    assert {(d.returncode, d.stderr) for d in done} == {(0, b"")}
    assert len({d.stdout for d in done}) == 1
    assert len(desk.containers()) == 1


def test_connects_at_the_same_time_to_a_running_desktop_are_all_served(desk):
    """Twenty more at once, with one spare between them."""
    ada = desk.person("ada")
    desk.ok(ada, "true")
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda n: desk.ssh(ada, f"exit {n}").returncode, range(20)))
    assert done == list(range(20))
