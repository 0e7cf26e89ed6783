"""Certificates at the broker: whom it trusts, what was revoked, and what an operator reads."""

import base64
import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from broker.core.errors import ConfigError
from broker.core.gateway import Allowance
from broker.core.publickeys import authority
from broker.service.certificates import Certificates, Refusal, Verdict
from broker.service.revocations import Revocations
from tests import sshkeys
from tests.clocks import ManualClock

VALID = ("-V", "20200101Z:20400101Z")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Authorities of several kinds and a person's key."""
    folder = tmp_path_factory.mktemp("certificates")
    for kind in sshkeys.KINDS:
        sshkeys.made(folder, f"ca-{kind}", kind)
    sshkeys.made(folder, "key")
    return folder


@pytest.fixture(scope="module")
def certificate(folder):
    """One that counts for ada."""
    return sshkeys.certified(folder / "ca-ed25519", folder / "key", *VALID, "-z", "7")


def trusted(folder, kind="ed25519"):
    return authority(sshkeys.public(folder / f"ca-{kind}"))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def certificates(folder, clock, tmp_path):
    """They trust one authority; the list is a file that revokes nothing."""
    (tmp_path / "revoked").write_text("")
    return Certificates(
        authorities=[trusted(folder)],
        revocations=Revocations(tmp_path / "revoked"),
        clock=clock,
    )


async def judged(certificates, certificate, *, user="ada", address="192.0.2.7", authorities=()):
    return await certificates.judge(
        certificate, user=user, address=address, authorities=authorities
    )


# ---------------------------------------------------------------------------------- judging


@pytest.mark.parametrize("kind", sshkeys.KINDS)
async def test_what_an_authority_of_any_kind_signed_counts(kind, folder, clock):
    """By every kind of signature that ssh-keygen makes."""
    encoded = sshkeys.certified(folder / f"ca-{kind}", folder / "key", *VALID)
    certificates = Certificates(
        authorities=[trusted(folder, kind)], revocations=Revocations(None), clock=clock
    )
    assert isinstance(await judged(certificates, encoded), Verdict)


async def test_a_verdict_says_what_the_certificate_denies(folder, certificates):
    """And gives a credential that names authority and serial."""
    encoded = sshkeys.certified(
        folder / "ca-ed25519", folder / "key", *VALID, "-z", "9", "-O", "no-pty"
    )
    verdict = await judged(certificates, encoded)
    assert verdict.denied == {Allowance.PTY}
    assert not verdict.verify_required
    ca = sshkeys.printed(folder / "ca-ed25519.pub")
    assert verdict.credential.startswith(f"certificate:{ca}:9:")


async def test_an_authority_that_is_not_trusted_counts_for_nobody(folder, certificates):
    """But for members of a group that trusts it."""
    encoded = sshkeys.certified(folder / "ca-ecdsa-256", folder / "key", *VALID)
    with capture_logs() as logs:
        refused = await judged(certificates, encoded)
    assert refused == Refusal("its authority is not trusted")
    assert logs == []
    theirs = [trusted(folder, "ecdsa-256")]
    assert isinstance(await judged(certificates, encoded, authorities=theirs), Verdict)


async def test_a_group_that_trusts_another_still_trusts_everybodys(
    folder, certificates, certificate
):
    """Beside, not instead."""
    theirs = [trusted(folder, "ecdsa-256")]
    assert isinstance(await judged(certificates, certificate, authorities=theirs), Verdict)


async def test_one_that_names_an_authority_that_never_signed_it_is_refused(
    folder, certificates, certificate
):
    """Every byte that the signature is over counts, and nothing of it gets into the log."""
    blob = base64.b64decode(certificate)
    ada = blob.index(b"ada")
    forged = base64.b64encode(blob[:ada] + b"bob" + blob[ada + 3 :]).decode()
    with capture_logs() as logs:
        refused = await judged(certificates, forged, user="bob")
    assert refused == Refusal("its authority did not sign it")
    assert logs == []


async def test_any_flipped_bit_makes_it_nobodys(certificates, certificate):
    """In whichever part."""
    blob = base64.b64decode(certificate)
    for at in range(len(blob)):
        damaged = bytearray(blob)
        damaged[at] ^= 1 << at % 8
        encoded = base64.b64encode(damaged).decode()
        assert isinstance(await judged(certificates, encoded), Refusal), at


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
async def test_what_is_no_certificate_is_refused(certificates, text):
    """And claims no names."""
    assert isinstance(await judged(certificates, text), Refusal)
    assert certificates.names(text) == ()


async def test_the_names_are_told_of_what_somebody_trusted_signed(folder, certificates):
    """For everybody or for a group; a stranger's certificate makes nobody be looked for."""
    arguments = ("-n", "ada,students", *VALID)
    for kind, theirs, names in (
        ("ed25519", (), ("ada", "students")),
        ("rsa-2048", (), ()),
        ("rsa-2048", ("rsa-2048",), ("ada", "students")),
        ("rsa-2048", ("ecdsa-256",), ()),
    ):
        encoded = sshkeys.certified(folder / f"ca-{kind}", folder / "key", *arguments)
        authorities = [trusted(folder, one) for one in theirs]
        assert certificates.names(encoded, authorities=authorities) == names


async def test_a_forged_certificate_has_no_names(certificates, certificate):
    """Whatever authority it names."""
    blob = base64.b64decode(certificate)
    forged = base64.b64encode(blob.replace(b"ada", b"bob")).decode()
    assert certificates.names(certificate) == ("ada",)
    assert certificates.names(forged) == ()


async def test_a_refusal_of_a_signed_one_is_told_to_the_operator(folder, certificates, certificate):
    """In one line with what identifies it."""
    with capture_logs() as logs:
        refused = await judged(certificates, certificate, user="bob")
    assert refused == Refusal("'bob' is none of its principals")
    assert logs == [
        {
            "event": "certificate refused",
            "log_level": "info",
            "reason": "'bob' is none of its principals",
            "user": "bob",
            "peer": "192.0.2.7",
            "authority": sshkeys.printed(folder / "ca-ed25519.pub"),
            "serial": 7,
            "key_id": "'a certificate'",
        }
    ]


# -------------------------------------------------------------------------------- revocation


async def test_a_changed_list_counts_at_once(certificates, certificate, tmp_path):
    """Written in place, or put in its place."""
    path = tmp_path / "revoked"
    assert isinstance(await judged(certificates, certificate), Verdict)
    path.write_text("serial: 7\n")
    assert await judged(certificates, certificate) == Refusal("its serial 7 is revoked")
    before = path.stat()
    (tmp_path / "new").write_text("serial: 8\n")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").rename(path)
    assert isinstance(await judged(certificates, certificate), Verdict)


async def test_a_list_that_did_not_change_is_read_once(certificates, certificate, monkeypatch):
    """However many come."""
    reads = []
    monkeypatch.setattr(
        "broker.service.revocations.read_text", lambda data: reads.append(data) or _listed()
    )
    for _ in range(3):
        await judged(certificates, certificate)
    assert reads == [b""]


def _listed():
    from broker.core.revocations import Listed

    return Listed()


async def test_a_krl_of_openssh_is_understood(folder, certificates, certificate, tmp_path):
    """In the same file."""
    (tmp_path / "specification").write_text("serial: 5-9\n")
    sshkeys.keygen(
        "-q", "-k", "-f", tmp_path / "revoked", "-s", folder / "ca-ed25519.pub",
        tmp_path / "specification",
    )  # fmt: skip
    assert await judged(certificates, certificate) == Refusal("its serial 7 is revoked")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_text("serial: seven"), "line 1: found 'serial: seven'"),
        (lambda path: path.write_bytes(b"SSHKRL\n\0"), "ends too early"),
        (lambda path: path.write_bytes(b"\xff"), "neither a KRL of OpenSSH nor a text"),
        (lambda path: path.write_bytes(b"#" * (9 << 20)), "more than 8 MiB"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "it is no file"),
    ],
)
async def test_a_list_that_cannot_be_used_refuses_certificates(
    spoil, problem, folder, certificates, certificate, tmp_path
):
    """One line of the log says why, however many are refused; a sound list ends it."""
    path = tmp_path / "revoked"
    path.write_text(sshkeys.public(folder / "key"))
    await certificates.check()
    spoil(path)
    with capture_logs() as logs:
        for _ in range(3):
            refused = await judged(certificates, certificate)
            assert refused == Refusal("the revocation list cannot be used")
    told = [log for log in logs if log["log_level"] == "error"]
    assert [log["event"] for log in told] == ["revocation list unusable, certificates refused"]
    assert problem in told[0]["problem"]
    assert told[0]["path"] == str(path)
    with pytest.raises(ConfigError, match="The revocation list .* cannot be used: "):
        await certificates.check()
    # A plain key is somebody's by the broker's records: what the list said last goes on.
    assert await certificates.key_revoked(sshkeys.public(folder / "key"))
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_text("")
    with capture_logs() as logs:
        assert isinstance(await judged(certificates, certificate), Verdict)
    assert [log["event"] for log in logs] == ["revocation list usable again"]


async def test_a_list_that_comes_back_as_it_was_is_usable(folder, clock, certificate, tmp_path):
    """As when what holds it was not mounted for a moment."""
    there, away = tmp_path / "mounted", tmp_path / "away"
    there.mkdir()
    (there / "revoked").write_text("serial: 8")
    certificates = Certificates(
        authorities=[trusted(folder)], revocations=Revocations(there / "revoked"), clock=clock
    )
    assert isinstance(await judged(certificates, certificate), Verdict)
    there.rename(away)
    assert isinstance(await judged(certificates, certificate), Refusal)
    away.rename(there)
    assert isinstance(await judged(certificates, certificate), Verdict)


async def test_without_a_list_nothing_is_revoked(folder, clock, certificate):
    """None is configured."""
    certificates = Certificates(
        authorities=[trusted(folder)], revocations=Revocations(None), clock=clock
    )
    await certificates.check()
    assert isinstance(await judged(certificates, certificate), Verdict)
    assert not await certificates.key_revoked(sshkeys.public(folder / "key"))


async def test_plain_keys_are_on_the_list_too(folder, certificates, tmp_path):
    """As with sshd."""
    public = " ".join(sshkeys.public(folder / "key").split()[:2])
    assert not await certificates.key_revoked(public)
    (tmp_path / "revoked").write_text(public)
    assert await certificates.key_revoked(public)


# ----------------------------------------------------------------------- while it stands


async def test_what_let_in_outlives_its_validity(folder, certificates, clock):
    """That is asked at the login."""
    encoded = sshkeys.certified(
        folder / "ca-ed25519", folder / "key", "-V", "20291231Z:20300101093000Z"
    )
    issued = (await judged(certificates, encoded)).issued
    assert await certificates.still(issued) is None
    clock.advance(30 * 60)
    assert await certificates.still(issued) is None, "a connection outlives its certificate"


async def test_one_without_an_end_counts_on(folder, certificates, clock):
    """After years."""
    encoded = sshkeys.certified(folder / "ca-ed25519", folder / "key", "-V", "always:forever")
    issued = (await judged(certificates, encoded)).issued
    clock.advance(timedelta(days=36500).total_seconds())
    assert await certificates.still(issued) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("serial: 7", "its serial 7 is revoked"),
        ("id: a certificate", "its key id is revoked"),
        ("{key}", "its key is revoked"),
        ("{ca}", "its authority's key is revoked"),
        ("serial: seven", "the revocation list cannot be used"),
    ],
)
async def test_what_let_in_can_be_revoked(
    line, reason, folder, certificates, certificate, tmp_path
):
    """By whatever a list names."""
    issued = (await judged(certificates, certificate)).issued
    (tmp_path / "revoked").write_text(
        line.format(key=sshkeys.public(folder / "key"), ca=sshkeys.public(folder / "ca-ed25519"))
    )
    assert await certificates.still(issued) == reason


async def test_an_authority_that_lost_its_trust_ends_what_it_opened(folder, certificates):
    """As when the person left the group."""
    theirs = [trusted(folder, "rsa-3072")]
    encoded = sshkeys.certified(folder / "ca-rsa-3072", folder / "key", *VALID)
    issued = (await judged(certificates, encoded, authorities=theirs)).issued
    assert await certificates.still(issued, authorities=theirs) is None
    assert await certificates.still(issued) == "its authority is trusted no more"
