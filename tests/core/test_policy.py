"""What groups say, checked; and what holds for somebody who is in several of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pytest

from broker.core.errors import BadRequest
from broker.core.gateway import Allowance
from broker.core.idle import IdlePolicy
from broker.core.model import Group
from broker.core.policy import KEYS, Policy, Way, flat, merge, parse_policy, typed, written
from broker.core.shares import Looks

#: Always the same: it names a test, which has to have one name on all workers.
CA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkJah3eM06Lba47pllKaeSHcogfh4ofCDMOraB7hRYA"

DEFAULT = Policy(
    ways=frozenset({Way.KEY, Way.PASSWORD, Way.PASSWORD_CODE}),
    hardware_keys=False,
    authorities=(),
    idle=IdlePolicy(
        freeze_after=3600.0,
        stop_after=86_400.0,
        max_age=None,
        warn_before=300.0,
        keep_up_to=3 * 86_400.0,
        busy_for=86_400.0,
        busy_cpu=0.1,
    ),
    desktops=5,
    running=3,
    allowed=frozenset(Allowance),
    looks=Looks.ASK,
)

EVERY = {
    "login.ways": ["key+code", "key"],
    "login.hardware_keys": True,
    "login.authorities": [CA],
    "idle.freeze_after": "30m",
    "idle.stop_after": "never",
    "idle.max_age": "7d",
    "idle.warn_before": "2m",
    "idle.keep_up_to": "8h",
    "idle.busy_for": "2h",
    "idle.busy_cpu": 2,
    "limits.desktops": 1,
    "limits.running": 1,
    **{f"allow.{allowance}": False for allowance in Allowance},
    "share.admins": "tell",
}


def group(name, priority=0, **policy):
    """`idle__freeze_after="30m"` stands for the key with a dot."""
    said = {key.replace("__", "."): value for key, value in policy.items()}
    return Group(name=name, priority=priority, policy=parse_policy(said))


def refused(mapping) -> str:
    with pytest.raises(BadRequest) as caught:
        parse_policy(mapping)
    return caught.value.public


# --------------------------------------------------------------------------------------- parsing


def test_every_key_can_be_said_and_nothing_else_is_there():
    assert set(EVERY) == set(KEYS) == set(flat(DEFAULT))
    assert json.loads(json.dumps(parse_policy(EVERY))) == EVERY


def test_every_key_counts():
    """Each alone, against a default of which it says the opposite."""
    for key, value in EVERY.items():
        found = merge(DEFAULT, [Group(name="g", priority=0, policy=parse_policy({key: value}))])
        changed = {k for k, v in flat(found.policy).items() if v != flat(DEFAULT)[k]}
        assert changed == {key}
        assert {k for k, origin in found.origins.items() if origin == "group g"} == {key}


def test_what_is_said_is_read():
    found = merge(DEFAULT, [Group(name="g", priority=0, policy=parse_policy(EVERY))]).policy
    assert found == Policy(
        ways=frozenset({Way.KEY, Way.KEY_CODE}),
        hardware_keys=True,
        authorities=(" ".join(CA.split()[:2]),),
        idle=IdlePolicy(
            freeze_after=1800.0,
            stop_after=None,
            max_age=7 * 86_400.0,
            warn_before=120.0,
            keep_up_to=8 * 3600.0,
            busy_for=7200.0,
            busy_cpu=2,
        ),
        desktops=1,
        running=1,
        allowed=frozenset(),
        looks=Looks.TELL,
    )


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("login.ways", [], "allowed is a list of key, key+code, password, password+code."),
        ("login.ways", "key", "allowed is a list of key"),
        ("login.ways", ["key", "face"], "allowed is a list of key"),
        ("login.ways", [["key"]], "allowed is a list of key"),
        ("login.ways", {"key": 1}, "allowed is a list of key"),
        ("login.hardware_keys", "yes", "allowed are true and false."),
        ("login.hardware_keys", 1, "allowed are true and false."),
        ("login.authorities", CA, "allowed is a list of public keys"),
        ("login.authorities", ["ssh-ed25519"], "login.authorities: found"),
        ("login.authorities", [7], "allowed is a list of public keys"),
        ("idle.freeze_after", 30, "allowed is a number and a unit: 30s, 10m, 8h, 7d, or never."),
        ("idle.freeze_after", "0s", "0 is not allowed"),
        ("idle.freeze_after", None, "or never."),
        ("idle.warn_before", "2h", "allowed is at most 1h."),
        ("idle.warn_before", "never", "allowed is a number and a unit"),
        ("idle.warn_before", 5, "allowed is a number and a unit"),
        ("idle.keep_up_to", "soon", "allowed is a number and a unit"),
        ("idle.busy_cpu", 0, "allowed is a number from 0.001 to 256."),
        ("idle.busy_cpu", "1", "allowed is a number from 0.001 to 256."),
        ("idle.busy_cpu", float("nan"), "allowed is a number from 0.001 to 256."),
        ("idle.busy_cpu", True, "allowed is a number from 0.001 to 256."),
        ("limits.desktops", 0, "allowed is a number from 1 to 1000."),
        ("limits.desktops", 1.5, "allowed is a number from 1 to 1000."),
        ("limits.running", True, "allowed is a number from 1 to 1000."),
        ("allow.sftp", "no", "allowed are true and false."),
        ("share.admins", "always", "allowed is one of never, ask, tell."),
        ("share.admins", [], "allowed is one of never, ask, tell."),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_is_allowed(key, value, rule):
    told = refused({key: value})
    assert told.startswith(f"{key}: found ")
    assert rule in told
    assert told.endswith(".")
    assert len(told) < 400


@pytest.mark.parametrize("key", ["idle", "idle.archive_after", "log", "", "allow.everything", 7])
def test_a_key_that_is_not_there_is_refused_and_those_that_are_named(key):
    told = refused({key: True})
    assert told.startswith(f"A group has no '{key}'; there are allow.agent, ")
    assert "login.ways" in told


# --------------------------------------------------------------------------------------- merging


def test_without_groups_the_configuration_holds():
    found = merge(DEFAULT, [])
    assert found.policy == DEFAULT
    assert found.origins == dict.fromkeys(KEYS, "config")


def test_of_two_that_say_something_the_higher_priority_counts_key_by_key():
    staff = group("staff", 10, limits__desktops=10, allow__agent=False)
    lab = group("lab", 20, limits__desktops=2, idle__freeze_after="never")
    found = merge(DEFAULT, [staff, lab])
    assert (found.policy.desktops, found.policy.idle.freeze_after) == (2, None)
    assert found.policy.allowed == frozenset(Allowance) - {Allowance.AGENT}
    said = {key: origin for key, origin in found.origins.items() if origin != "config"}
    assert said == {
        "limits.desktops": "group lab",
        "idle.freeze_after": "group lab",
        "allow.agent": "group staff",
    }


@pytest.mark.parametrize("order", list(permutations(["a", "ab", "b"])))
def test_of_equals_the_first_name_counts_in_whatever_order_they_come(order):
    counts = {"a": 1, "ab": 2, "b": 3}
    groups = [group(name, 5, limits__running=counts[name]) for name in order]
    assert merge(DEFAULT, groups).policy.running == 1
    assert merge(DEFAULT, [g for g in groups if g.name != "a"]).policy.running == 2


def test_a_priority_can_be_negative():
    low, plain = group("a", -1, limits__running=1), group("b", 0, limits__running=2)
    assert merge(DEFAULT, [low, plain]).origins["limits.running"] == "group b"


def test_a_group_that_says_what_the_configuration_says_is_named_all_the_same():
    assert merge(DEFAULT, [group("g", allow__x11=True)]).origins["allow.x11"] == "group g"


def test_a_warning_gives_way_to_a_period_that_another_group_made_shorter():
    found = merge(DEFAULT, [group("g", idle__freeze_after="4m"), group("h", idle__busy_for="1h")])
    assert found.policy.idle.warn_before == 120
    assert found.origins["idle.warn_before"] == "group g"
    enough = merge(DEFAULT, [group("g", idle__freeze_after="301s")])
    assert enough.policy.idle.warn_before == 300
    assert enough.origins["idle.warn_before"] == "config"
    longer = merge(DEFAULT, [group("g", idle__max_age="30m"), group("h", idle__warn_before="1h")])
    assert longer.policy.idle.warn_before == 900
    assert longer.origins["idle.warn_before"] == "group g"


def test_without_any_period_a_warning_stays_as_it_is():
    never = dict.fromkeys(("idle__freeze_after", "idle__stop_after", "idle__max_age"), "never")
    assert merge(DEFAULT, [group("g", **never)]).policy.idle.warn_before == 300


def test_a_stored_group_that_could_not_be_said_is_no_policy():
    """Whoever wrote it by hand is told, and nobody gets more by it."""
    with pytest.raises(BadRequest):
        merge(DEFAULT, [Group(name="g", priority=0, policy={"login.ways": []})])


# --------------------------------------------------------------------------------------- showing


def test_values_are_written_for_people():
    told = {key: written(key, value) for key, value in flat(DEFAULT).items()}
    assert told["login.ways"] == "key, password, password+code"
    assert told["login.authorities"] == "none"
    assert told["login.hardware_keys"] == "false"
    assert told["idle.freeze_after"] == "1 h"
    assert told["idle.max_age"] == "never"
    assert told["idle.busy_cpu"] == "0.1"
    assert told["limits.desktops"] == "5"
    assert told["allow.sftp"] == "true"
    assert set(told) == set(KEYS)
    one = replace(DEFAULT, authorities=(CA,))
    assert written("login.authorities", flat(one)["login.authorities"]) == CA


# -------------------------------------------------------------------------------------- typed


def test_what_somebody_types_is_what_a_group_would_say():
    for key, value in EVERY.items():
        text = ",".join(value) if isinstance(value, list) else str(value)
        text = text.lower() if isinstance(value, bool) else text
        assert typed(key, text) == value
    assert parse_policy({key: typed(key, str(value)) for key, value in [("idle.busy_cpu", 0.5)]})


@pytest.mark.parametrize(
    ("key", "text"),
    [("allow.x11", "True"), ("limits.running", "1.5"), ("limits.running", "two"),
     ("idle.busy_cpu", "nan"), ("login.ways", ""), ("login.hardware_keys", "1")],
)  # fmt: skip
def test_what_somebody_types_wrong_is_found_as_what_a_group_says_wrong(key, text):
    assert key in refused({key: typed(key, text)})
