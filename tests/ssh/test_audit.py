"""What the door offers, as ssh-audit judges it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .clients import DoorProcess

BEFORE_AUTHENTICATION = True


AUDIT = Path(sys.executable).with_name("ssh-audit")

#: Kept for clients of before 2025, which have no post-quantum exchange, and for dropbear, which has
#: no other MAC with the door's ciphers. The last of the first three is none but a mark.
WARNED = {
    "kex": {
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "kexguess2@matt.ucc.asn.au",
    },
    "key": set(),
    "enc": set(),
    "mac": {"hmac-sha2-256"},
}


@pytest.fixture(scope="module")
def report(common_door: DoorProcess) -> dict[str, Any]:
    """Its judgement of the door, as data."""
    argv = [str(AUDIT), "-j", "-n", "--skip-rate-test", "-p", str(common_door.port), "127.0.0.1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return json.loads(done.stdout)


def notes(report: dict[str, Any], grade: str) -> dict[str, set[str]]:
    return {
        kind: {entry["algorithm"] for entry in report[kind] if entry["notes"].get(grade)}
        for kind in WARNED
    }


def test_nothing_fails(report: dict[str, Any]) -> None:
    """And it did look: there is something of each kind."""
    assert all(report[kind] for kind in WARNED)
    assert notes(report, "fail") == {kind: set() for kind in WARNED}
    assert report["cves"] == []


def test_what_is_warned_of_is_kept_on_purpose(report: dict[str, Any]) -> None:
    """Nothing else is."""
    assert notes(report, "warn") == WARNED


def test_post_quantum_comes_first_and_no_prefix_can_be_cut_off(report: dict[str, Any]) -> None:
    """The client's own order decides, and this is the door's."""
    offered = [entry["algorithm"] for entry in report["kex"]]
    assert offered[0] == "mlkem768x25519-sha256"
    assert "kex-strict-s-v00@openssh.com" in offered


def test_the_host_key_is_ed25519_alone(report: dict[str, Any], common_door: DoorProcess) -> None:
    """The one that the door was given."""
    assert [entry["algorithm"] for entry in report["key"]] == ["ssh-ed25519"]
    told = {f"SHA256:{entry['hash']}" for entry in report["fingerprints"]}
    assert common_door.host_key.get_fingerprint() in told


def test_nothing_is_compressed(report: dict[str, Any]) -> None:
    assert report["compression"] == ["none"]
