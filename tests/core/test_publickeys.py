"""Blobs of public keys: sound ones are read, and each kind of damage is told."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.publickeys import AUTHORITY_RULE, WeakKey, authority, read_key
from broker.core.sshdata import Damaged, Reader, string
from tests import sshkeys


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """One of each kind."""
    folder = tmp_path_factory.mktemp("keys")
    plain = {
        kind: sshkeys.blob(sshkeys.public(sshkeys.made(folder, kind, kind)))
        for kind in sshkeys.KINDS
    }
    hardware = [sshkeys.security_key(plain[kind])[1] for kind in ("ed25519", "ecdsa-256")]
    return [*plain.values(), *hardware]


def rsa(bits: int, exponent: int = 65537, *, even: bool = False) -> bytes:
    modulus = (1 << bits - 1) + (0 if even else 1)
    return string(b"ssh-rsa") + mpint(exponent) + mpint(modulus)


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def test_sound_keys_of_all_kinds_are_read(blobs):
    """And only those of security keys are hardware."""
    kinds = [read_key(blob).type for blob in blobs]
    assert kinds == [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "ssh-rsa",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ]
    assert [read_key(blob).hardware for blob in blobs] == [False] * 6 + [True] * 2


def test_a_cut_or_longer_key_of_any_kind_is_damaged(blobs):
    """At every length but its own."""
    for blob in blobs:
        for size in range(len(blob)):
            with pytest.raises(Damaged):
                read_key(blob[:size])
        with pytest.raises(Damaged, match="after its end"):
            read_key(blob + b"\0")


def test_a_point_must_be_on_its_curve(blobs):
    """A key that no signature can be checked by says so when it is added."""
    for blob in (blobs[1], blobs[2], blobs[3], blobs[7]):
        flipped = bytearray(blob)
        flipped[-1 if blob is not blobs[7] else -1 - len(string(b"ssh:"))] ^= 1
        with pytest.raises(Damaged, match="no point of its curve"):
            read_key(bytes(flipped))


def test_a_curve_must_be_the_one_that_the_kind_names(blobs):
    """Of two names, one is a lie."""
    with pytest.raises(Damaged, match="another curve"):
        read_key(blobs[1].replace(b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", 1))


@pytest.mark.parametrize(
    ("blob", "part"),
    [
        (rsa(2047), "2047 bits is too weak; 2048 or more"),
        (rsa(16385), "too long"),
        (rsa(2048, exponent=65536), "no RSA key"),
        (rsa(2048, exponent=1), "no RSA key"),
        (rsa(2048, exponent=(1 << 64) + 1), "no RSA key"),
        (rsa(2048, even=True), "no RSA key"),
        (string(b"ssh-rsa") + string(b"\0\x03") + mpint((1 << 2047) + 1), "padded"),
        (string(b"ssh-rsa") + string(b"\x83") + mpint((1 << 2047) + 1), "negative"),
        (string(b"ssh-ed25519") + string(b"x" * 31), "wrong length"),
        (string(b"ssh-dss") + string(b"x"), "'ssh-dss' is no kind"),
        (string(b"ssh-\xff"), "name that is none"),
        (string(b"x" * 9000), "too long"),
    ],
)
def test_numbers_are_bounded_and_shortest(blob, part):
    """Two spellings of one key would be two keys."""
    with pytest.raises(Damaged, match=part):
        read_key(blob)


def test_bounds_of_rsa_are_allowed():
    """2048 and 16384 bits, and the smallest exponent."""
    assert read_key(rsa(2048, exponent=3)).type == "ssh-rsa"
    assert read_key(rsa(16384)).type == "ssh-rsa"


def test_a_weak_key_is_told_from_a_damaged_one():
    """Its owner does something else about it."""
    with pytest.raises(WeakKey):
        read_key(rsa(1024))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_key_or_damaged(data):
    """Nothing else comes out."""
    for blob in (data, string(b"ssh-rsa") + data, string(b"ecdsa-sha2-nistp256") + data):
        with contextlib.suppress(Damaged):
            assert read_key(blob).blob == blob


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(0, 2**64 - 1))
def test_a_reader_takes_what_was_written(strings, number):
    """Strings and numbers, to the end."""
    data = b"".join(string(one) for one in strings) + struct.pack(">Q", number)
    reader = Reader(data, "it")
    assert [reader.string() for _ in strings] == strings
    assert reader.uint64() == number
    assert reader.since(0) == data
    reader.end()
    with pytest.raises(Damaged, match="it ends too early"):
        reader.byte()


def test_an_authority_is_one_public_key_line(tmp_path):
    """Its comment goes; anything else says what is allowed."""
    found = sshkeys.public(sshkeys.made(tmp_path, "ca", comment="the lab's CA"))
    assert authority(f"  {found}\n") == " ".join(found.split()[:2])
    for bad in ("", "ssh-ed25519", f"cert-authority {found}", f"{found}\x07", "a b c"):
        with pytest.raises(ValueError, match="allowed is an authority's public key"):
            authority(bad)
    with pytest.raises(ValueError, match="its base64 is cut or damaged; allowed"):
        authority("ssh-ed25519 AAA")
    assert AUTHORITY_RULE.startswith("allowed")
