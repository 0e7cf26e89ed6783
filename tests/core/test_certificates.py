"""Certificates as the real ssh-keygen makes them: what they say, and whom they let in."""

import base64
import contextlib
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.certificates import (
    key_within,
    objection,
    read_certificate,
    signature_algorithm,
)
from broker.core.gateway import Allowance
from broker.core.issued import Issued
from broker.core.sshdata import Damaged, string
from tests import sshkeys

NOW = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)
VALID = ("-V", "20200101:20400101")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Authorities and a person's key."""
    folder = tmp_path_factory.mktemp("certificates")
    sshkeys.made(folder, "ca")
    sshkeys.made(folder, "ca-rsa", "rsa-2048")
    sshkeys.made(folder, "key")
    return folder


@pytest.fixture(scope="module")
def certify(folder):
    """Make a certificate by ssh-keygen and read it."""

    def certify(*arguments, ca="ca", key="key", sign=()):
        valid = () if "-V" in arguments else VALID
        encoded = sshkeys.certified(folder / ca, folder / key, *valid, *arguments, sign=sign)
        return read_certificate(base64.b64decode(encoded))

    return certify


def why(certificate, *, user="ada", address="192.0.2.7", now=NOW):
    return objection(certificate, user=user, address=address, now=now)


# ------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("kind", sshkeys.KINDS)
def test_a_certificate_of_every_kind_is_read(kind, folder, certify):
    """The plain key in it is the one that was certified."""
    key = sshkeys.made(folder, f"of-{kind}", kind)
    found = certify("-z", "7", "-I", "ada's laptop", "-n", "ada,students", key=key.name)
    assert found.key.public == " ".join(sshkeys.public(key).split()[:2])
    assert found.authority.public == " ".join(sshkeys.public(folder / "ca").split()[:2])
    assert (found.serial, found.kind, found.key_id) == (7, 1, b"ada's laptop")
    assert found.principals == ("ada", "students")
    assert why(found) is None
    assert found.denied == set()
    assert not found.verify_required


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256"])
def test_certificates_of_security_keys_are_read(kind, folder, certify):
    """And a PIN can be required of them alone."""
    plain = sshkeys.made(folder, f"sk-{kind}", kind)
    line = sshkeys.line(*sshkeys.security_key(sshkeys.blob(sshkeys.public(plain))))
    plain.with_name(plain.name + ".pub").write_text(line + "\n")
    found = certify("-O", "verify-required", key=plain.name)
    assert found.key.public == line
    assert found.key.hardware
    assert found.verify_required
    assert why(found) is None


def test_the_plain_key_is_had_without_the_rest(folder, certify):
    """For whoever checks the person's signature."""
    encoded = sshkeys.certified(folder / "ca", folder / "key")
    assert key_within(base64.b64decode(encoded)).fingerprint == sshkeys.printed(folder / "key.pub")


def test_a_cut_or_longer_certificate_is_damaged(folder):
    """At every length but its own."""
    blob = base64.b64decode(sshkeys.certified(folder / "ca", folder / "key"))
    for size in range(len(blob)):
        with pytest.raises(Damaged):
            read_certificate(blob[:size])
    with pytest.raises(Damaged, match="after its end"):
        read_certificate(blob + b"\0")


def test_a_chain_of_certificates_is_refused(folder):
    """An authority is a key."""
    blob = base64.b64decode(sshkeys.certified(folder / "ca", folder / "key"))
    authority = string(sshkeys.blob(sshkeys.public(folder / "ca")))
    with pytest.raises(Damaged, match="'ssh-ed25519-cert-v01@openssh.com' is no kind of key"):
        read_certificate(blob.replace(authority, string(blob)))


def test_a_signature_with_sha1_is_too_weak(certify):
    """Those of RSA with SHA-2 are not."""
    for algorithm in ("rsa-sha2-256", "rsa-sha2-512"):
        assert why(certify(ca="ca-rsa", sign=("-t", algorithm))) is None
    with pytest.raises(Damaged, match="signed by 'ssh-rsa', which is not allowed"):
        certify(ca="ca-rsa", sign=("-t", "ssh-rsa"))


def test_an_authority_or_a_key_of_few_bits_is_too_weak(folder, certify):
    """2048 are wanted of either."""
    sshkeys.keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", folder / "weak")
    with pytest.raises(Damaged, match="1024 bits is too weak"):
        certify(ca="weak")
    with pytest.raises(Damaged, match="1024 bits is too weak"):
        certify(key="weak")


def test_a_plain_key_is_no_certificate(folder):
    """Nor is one of DSA."""
    with pytest.raises(Damaged, match="'ssh-ed25519' is no kind of certificate"):
        read_certificate(sshkeys.blob(sshkeys.public(folder / "key")))
    with pytest.raises(Damaged, match="'ssh-dss-cert-v01@openssh.com' is no kind"):
        read_certificate(string(b"ssh-dss-cert-v01@openssh.com"))
    with pytest.raises(Damaged, match="too long"):
        read_certificate(bytes(20_000))


def built(principals=(b"ada",), critical=(), extensions=()):
    """A certificate by hand, for what ssh-keygen does not make; its signature is none."""
    plain = string(b"ssh-ed25519") + string(sshkeys.counted("x", 32))

    def options(pairs):
        return string(b"".join(string(name) + string(data) for name, data in pairs))

    return b"".join(
        (
            string(b"ssh-ed25519-cert-v01@openssh.com"),
            string(b"nonce"),
            string(sshkeys.counted("x", 32)),
            bytes(8),
            (1).to_bytes(4, "big"),
            string(b"id"),
            string(b"".join(map(string, principals))),
            bytes(8),
            b"\xff" * 8,
            options(critical),
            options(extensions),
            string(b""),
            string(plain),
            string(string(b"ssh-ed25519") + string(bytes(64))),
        )
    )


def test_options_stand_once(folder):
    """Of two, one would win."""
    twice = [(b"source-address", string(b"192.0.2.7/32"))] * 2
    for options in ({"critical": twice}, {"extensions": [(b"permit-pty", b"")] * 2}):
        with pytest.raises(Damaged, match="twice"):
            read_certificate(built(**options))


def test_principals_are_bounded():
    """At most as many as with OpenSSH."""
    assert len(read_certificate(built(principals=[b"x"] * 256)).principals) == 256
    with pytest.raises(Damaged, match="more than 256 principals"):
        read_certificate(built(principals=[b"x"] * 257))


def test_principals_of_any_bytes_are_nobodys_name():
    """Not cut at a zero, and shown safely."""
    found = read_certificate(built(principals=[b"ada\0", b"ad\xff"]))
    assert why(found) == "'ada' is none of its principals"
    assert found.principals == ("ada\0", "ad\\xff")


# ------------------------------------------------------------------------------------- judging


def test_only_who_is_named_is_let_in(certify):
    """Exactly."""
    found = certify("-n", "ada,students")
    assert why(found, user="students") is None
    for other in ("bob", "Ada", "ada,students", ""):
        assert "is none of its principals" in why(found, user=other)


def test_without_principals_it_is_nobodys(folder):
    """With OpenSSH of old, it was everybody's."""
    sshkeys.keygen("-q", "-s", folder / "ca", "-I", "x", folder / "key.pub")
    encoded = (folder / "key-cert.pub").read_text().split()[1]
    assert "no principals" in why(read_certificate(base64.b64decode(encoded)), user="")


def test_a_hosts_certificate_is_no_users(certify):
    """Whatever its names are."""
    assert why(certify("-h")) == "it is no user's certificate"


def test_it_counts_from_its_first_second_until_before_its_last(certify):
    """As with OpenSSH, to the second."""
    found = certify("-V", "20291231090000Z:20300101090000Z")
    end = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)
    assert why(found, now=end) == "it expired at 2030-01-01T09:00:00+00:00"
    assert why(found, now=end - timedelta(microseconds=1)) is None
    begin = end - timedelta(days=1)
    assert why(found, now=begin) is None
    too_early = why(found, now=begin - timedelta(microseconds=1))
    assert too_early == "it is not valid before 2029-12-31T09:00:00+00:00"


def test_one_without_an_end_counts_for_ever(certify):
    """And one that begins at the end of time never."""
    found = certify("-V", "always:forever")
    assert found.valid_before == 2**64 - 1
    assert why(found, now=datetime(9999, 12, 31, tzinfo=UTC)) is None
    never = read_certificate(built().replace(bytes(8) + b"\xff" * 8, b"\xff" * 16))
    assert why(never) == "it is not valid before the end of time"


def test_it_counts_from_its_sources_alone(certify):
    """Addresses and networks, of both kinds."""
    found = certify("-O", "source-address=192.0.2.0/24,2001:db8::/48")
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::5"):
        assert why(found, address=address) is None
    for address in ("192.0.3.1", "2001:db9::1", ""):
        assert why(found, address=address) == f"it does not count from {address}"


@pytest.mark.parametrize(
    ("critical", "reason"),
    [
        ([(b"source-address", b"")], "its source-address cannot be read"),
        ([(b"source-address", string(b""))], "its source-address cannot be read"),
        ([(b"source-address", string(b"192.0.2.*"))], "its source-address cannot be read"),
        ([(b"source-address", string(b"!192.0.2.1"))], "its source-address cannot be read"),
        ([(b"source-address", string(b"192.0.2.7/24"))], "its source-address cannot be read"),
        ([(b"source-address", string(b"0.0.0.0/0") + b"x")], "its source-address cannot be read"),
        ([(b"verify-required", b"")], "its key is in no security key"),
        ([(b"verify-required", b"x")], "its verify-required cannot be read"),
        ([(b"force-command", string(b"ls"))], "critical option 'force-command' cannot be"),
        ([(b"new@example.org", b"")], "critical option 'new@example.org' cannot be honoured"),
        ([(b"Source-Address", string(b"::/0"))], "critical option 'Source-Address' cannot"),
    ],
)
def test_a_restriction_that_cannot_be_kept_refuses_it(critical, reason):
    """None is passed over."""
    assert reason in why(read_certificate(built(critical=critical)))


def test_forced_commands_of_ssh_keygen_are_refused(certify):
    """By the name of the option."""
    found = certify("-O", "force-command=/bin/date")
    assert why(found) == "its critical option 'force-command' cannot be honoured"
    assert "'x@y' cannot be honoured" in why(certify("-O", "critical:x@y=z"))


@pytest.mark.parametrize(
    ("option", "denied"),
    [
        ("no-port-forwarding", {Allowance.FORWARD_LOCAL, Allowance.FORWARD_REMOTE}),
        ("no-agent-forwarding", {Allowance.AGENT}),
        ("no-x11-forwarding", {Allowance.X11}),
        ("no-pty", {Allowance.PTY}),
        ("no-user-rc", set()),
        ("extension:new@example.org", set()),
        (
            "clear",
            {Allowance.FORWARD_LOCAL, Allowance.FORWARD_REMOTE}
            | {Allowance.AGENT, Allowance.X11, Allowance.PTY},
        ),
    ],
)
def test_what_it_does_not_permit_is_denied(option, denied, certify):
    """And it lets in all the same."""
    found = certify("-O", option)
    assert found.denied == denied
    assert why(found) is None


# ---------------------------------------------------------------------------------- the wire


@pytest.mark.parametrize(
    ("wire", "plain"),
    [
        ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"),
        ("ecdsa-sha2-nistp521-cert-v01@openssh.com", "ecdsa-sha2-nistp521"),
        ("sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com"),
        ("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
        ("rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-256"),
        ("rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-512"),
        ("ssh-rsa-cert-v01@openssh.com", "ssh-rsa"),
        ("ssh-ed25519", None),
        ("rsa-sha2-512", None),
        ("ssh-dss-cert-v01@openssh.com", None),
        ("-cert-v01@openssh.com", None),
    ],
)
def test_the_signature_is_by_the_plain_algorithm(wire, plain):
    """Of every name that a client can give a certificate."""
    assert signature_algorithm(wire) == plain


# ---------------------------------------------------------------------------------- credentials


def test_a_credential_tells_all_that_is_looked_at_again(certify, folder):
    """There and back."""
    found = certify("-z", "12", "-V", "20291231090000Z:20300101090000Z", "-I", "it: ours")
    issued = Issued.of(found)
    assert Issued.parse(str(issued)) == issued
    authority = sshkeys.printed(folder / "ca.pub")
    assert str(issued).startswith(f"certificate:{authority}:12:")
    assert issued.proof == f"certificate {authority} serial 12"
    assert issued.key_id == hashlib.sha256(b"it: ours").digest()
    assert sshkeys.printed(folder / "key.pub") in f"SHA256:{str(issued).split(':')[5]}"


@given(st.text(max_size=100))
def test_other_credentials_are_none_of_a_certificate(text):
    """Keys' and passwords', and what nobody made."""
    for credential in (text, f"certificate:{text}", "SHA256:" + "A" * 43, "password:0a"):
        assert Issued.parse(credential) is None


# ---------------------------------------------------------------------------------- any bytes


@given(st.data())
def test_a_certificate_with_any_damage_is_read_or_damaged(data):
    """Nothing else is raised, by judging neither."""
    blob = bytearray(built(critical=[(b"source-address", string(b"192.0.2.7"))]))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Damaged):
        reason = why(read_certificate(bytes(blob)))
        assert reason is None or reason.isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_certificate_or_damaged(data):
    """Under a certificate's name too."""
    for blob in (data, string(b"ssh-ed25519-cert-v01@openssh.com") + data):
        with contextlib.suppress(Damaged):
            read_certificate(blob)
