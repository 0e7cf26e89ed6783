"""What real containers reach, by policy; and that a flush of the host's rules opens nothing for long."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.filters import PATH, missing

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

HOST = {f"host by {how}" for how in ("gateway", "other gateway", "uplink")}
PUBLISHED = {f"published by {how}" for how in ("gateway", "other gateway", "uplink")}
PRIVATE = {"private", "carrier", "resolver"}


@pytest.fixture(scope="module")
def found():
    """Everything at once, in a cell with an engine of its own."""
    if os.geteuid() != 0 or shutil.which("dockerd", path=PATH) is None:
        pytest.skip("an engine of one's own needs root and dockerd")
    if (reason := missing()) is not None:
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.matrix"],
        cwd=ROOT,
        env={**os.environ, "DESK_CELL": "desk-matrix", "PATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_the_rules_a_desktop_reaches_its_host_and_all_that_it_reaches(found):
    """So that what is closed below is closed by them."""
    world = PRIVATE | {"internet", "neighbour", "link-local", "names"}
    assert set(found["no rules"]) == HOST | PUBLISHED | world


@pytest.mark.parametrize(
    ("policy", "reached"),
    [
        ("none", set()),
        ("internet", {"internet", "names"}),
        ("full", PRIVATE | {"internet", "neighbour", "names"}),
        ("list", {"internet", "names", "private"}),
    ],
)
def test_a_policy_opens_this_and_nothing_else(found, policy, reached):
    """Neither host nor published ports, neither desktop nor link-local address."""
    assert set(found[policy]) == reached


@pytest.mark.parametrize("tool", ["iptables", "nft"])
def test_after_a_flush_the_same_is_closed_within_two_seconds(found, tool):
    assert found[f"back after {tool}"] < 2
    assert set(found[f"after {tool}"]) == {"internet", "names"}


def test_a_flush_of_nftables_is_noticed_and_one_of_iptables_concerns_nobody(found):
    assert found["told after nft"] == ["the table was gone"]
    assert found["told after iptables"] == []


def test_the_canary_finds_the_host_open_where_it_is(found):
    assert found["canary without rules"]
    assert not found["canary"]
