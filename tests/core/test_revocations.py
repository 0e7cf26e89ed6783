"""Revocation lists: OpenSSH's own, judged as its ssh-keygen judges them, and plain texts."""

import base64
import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.certificates import read_certificate
from broker.core.issued import Hashes, Issued
from broker.core.krl import MAGIC, read_krl
from broker.core.revocations import Revoked, Serials, read_text
from broker.core.sshdata import Damaged, string
from tests import sshkeys

SERIALS = (0, 1, 2, 3, 7, 9, 10, 11, 12, 99, 100, 2**32, 2**63, 2**64 - 2, 2**64 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two authorities, two keys, and certificates of each with many serials."""
    folder = tmp_path_factory.mktemp("revocations")
    for name in ("ca", "ca2"):
        sshkeys.made(folder, name)
    for name, kind in (("key", "ed25519"), ("key2", "ecdsa-384"), ("other", "rsa-2048")):
        sshkeys.made(folder, name, kind)
    for ca in ("ca", "ca2"):
        for key in ("key", "key2"):
            for serial in SERIALS:
                sshkeys.certified(
                    folder / ca, folder / key, "-z", serial, "-I", f"{key} no {serial}"
                )
                made = folder / f"{key}-cert.pub"
                made.rename(folder / f"{ca}-{key}-{serial}-cert.pub")
    return folder


def certificates(folder):
    return sorted(folder.glob("*-cert.pub"))


def ours(path, revoked: Revoked) -> bool:
    line = path.read_text()
    if not path.name.endswith("-cert.pub"):
        return revoked.key(Hashes.of(sshkeys.blob(line)))
    found = read_certificate(sshkeys.blob(line))
    return revoked.certificate(Issued.of(found)) is not None


def agree(folder, krl) -> int:
    """Whether ours and ssh-keygen -Q say the same of all; how many are revoked."""
    revoked = Revoked(read_krl(krl.read_bytes()))
    paths = [*certificates(folder), *(folder / f"{n}.pub" for n in ("key", "key2", "other", "ca"))]
    said = sshkeys.keygen("-Q", "-f", krl, *paths, fails=True).splitlines()
    theirs = {line.split(" (")[0].removesuffix(":"): line.endswith("REVOKED") for line in said}
    mine = {str(path): ours(path, revoked) for path in paths}
    assert list(mine.values()) == list(theirs.values())
    return sum(mine.values())


def krl(folder, specification, *arguments):
    """A list by ssh-keygen; by default for the first authority."""
    (folder / "specification").write_text(specification)
    made = folder / "krl"
    made.unlink(missing_ok=True)
    ca = arguments or ("-s", folder / "ca.pub")
    sshkeys.keygen("-q", "-k", "-f", made, *ca, folder / "specification")
    return made


@pytest.mark.parametrize(
    ("specification", "count"),
    [
        ("", 0),
        ("serial: 7\n", 2),
        ("serial: 1-3\nserial: 9-12\nserial: 99\n", 16),
        ("serial: 1-100\n", 20),
        ("serial: 1-18446744073709551615\n", 28),
        ("serial: 18446744073709551614-18446744073709551615\n", 4),
        ("".join(f"serial: {n}\n" for n in range(1, 400, 2)), 12),
        ("".join(f"serial: {n}\n" for n in (7, 4294967296, 9223372036854775808)), 6),
        ("id: key no 7\nid: key2 no 0\n", 2),
        ("id: key no 7 # a comment\nserial: 7 # the same\n", 2),
    ],
)
def test_serials_and_ids_are_judged_as_ssh_keygen_does(folder, specification, count):
    """Lists, ranges, bitmaps and names, of one authority and not of the other."""
    assert agree(folder, krl(folder, specification)) == count


def test_a_list_of_any_authority_is_judged_as_ssh_keygen_does(folder):
    """Without an authority in it."""
    assert agree(folder, krl(folder, "serial: 7\nid: key no 9\n", "-s", "none")) == 6


def test_bitmaps_really_are_among_what_was_judged(folder):
    """ssh-keygen chooses how it writes serials."""
    for specification, kind in (
        ("".join(f"serial: {n}\n" for n in range(1, 400, 2)), b"\x22"),
        ("serial: 1-100000\n", b"\x21"),
        ("serial: 7\n", b"\x20"),
    ):
        data = krl(folder, specification).read_bytes()
        authority = string(sshkeys.blob(sshkeys.public(folder / "ca")))
        after = data.index(authority) + len(authority) + len(string(b""))
        assert data[after : after + 1] == kind


@pytest.mark.parametrize("how", ["key", "sha1", "sha256"])
def test_keys_are_judged_as_ssh_keygen_does(folder, how):
    """Plain ones, those in certificates, and by whichever hash."""
    line = sshkeys.public(folder / "key")
    assert agree(folder, krl(folder, f"{how}: {line}\n", "-z", "5")) == len(SERIALS) * 2 + 1


def test_a_fingerprint_is_judged_as_ssh_keygen_does(folder):
    """As `ssh-keygen -l` prints it."""
    fingerprint = sshkeys.printed(folder / "key2.pub")
    assert agree(folder, krl(folder, f"hash: {fingerprint}\n")) == len(SERIALS) * 2 + 1


def test_an_authority_whose_key_is_revoked_takes_all_with_it(folder):
    """Its own key too."""
    assert agree(folder, krl(folder, sshkeys.public(folder / "ca") + "\n")) == len(SERIALS) * 2 + 1


def test_a_certificate_is_revoked_by_itself(folder):
    """By its serial, or by its id where it has none."""
    for serial, count in ((7, 2), (0, 1)):
        path = folder / f"ca-key-{serial}-cert.pub"
        made = folder / "krl"
        made.unlink(missing_ok=True)
        sshkeys.keygen("-q", "-k", "-f", made, path)
        assert agree(folder, made) == count


def test_a_list_that_was_added_to_is_judged_as_ssh_keygen_does(folder):
    """With sections of two authorities."""
    made = krl(folder, "serial: 7\n")
    (folder / "specification").write_text("serial: 9-12\nid: key no 3\n")
    sshkeys.keygen("-q", "-k", "-u", "-f", made, "-s", folder / "ca2.pub", folder / "specification")
    assert agree(folder, made) == 2 + 8 + 1


# ---------------------------------------------------------------------------- by hand, damaged


def by_hand(*sections: tuple[int, bytes], version: int = 1) -> bytes:
    parts = b"".join(bytes([kind]) + string(data) for kind, data in sections)
    return MAGIC + version.to_bytes(4, "big") + bytes(24) + string(b"") * 2 + parts


def certificate_part(kind: int, data: bytes) -> tuple[int, bytes]:
    return (1, string(b"") * 2 + bytes([kind]) + string(data))


def extension(critical: int) -> bytes:
    return string(b"new@example.org") + bytes([critical]) + string(b"?")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"SSHKRL\n\1" + bytes(40), "no revocation list of a version"),
        (by_hand(version=2), "no revocation list of a version"),
        (by_hand((6, b"")), "the unknown kind 6"),
        (by_hand((255, extension(1))), "unknown critical extension 'new@example.org'"),
        (by_hand((3, string(bytes(32)))), "fingerprint of the wrong length"),
        (by_hand((5, string(bytes(20)))), "fingerprint of the wrong length"),
        (by_hand(certificate_part(0x24, b"")), "certificates by the unknown kind 36"),
        (by_hand(certificate_part(0x39, extension(1))), "unknown critical extension"),
        (by_hand(certificate_part(0x20, bytes(7))), "ends too early"),
        (by_hand(certificate_part(0x21, bytes(17))), "bytes after its end"),
        (by_hand(certificate_part(0x21, b"\1" + bytes(15))), "end is before its beginning"),
        (by_hand(certificate_part(0x22, bytes(8) + string(b"\x80"))), "negative"),
        (
            by_hand(certificate_part(0x22, bytes(8) + string(b"\1" + bytes(1 << 21)))),
            "bitmap that is too long",
        ),
    ],
)
def test_what_cannot_be_understood_makes_the_list_damaged(data, part):
    """It could revoke anything."""
    with pytest.raises(Damaged, match=part):
        read_krl(data)


def test_what_is_no_revocation_is_passed_over():
    """Signatures, and extensions that say so."""
    data = by_hand((255, extension(0)), certificate_part(0x39, extension(0)))
    signature = bytes([4]) + string(b"key") + string(b"signature")
    assert not Revoked(read_krl(data + signature)).key(Hashes.of(b"x"))


def test_a_cut_list_is_damaged(folder):
    """At every length but where a section ends."""
    data = krl(folder, f"serial: 7\nid: x\n{sshkeys.public(folder / 'key')}\n").read_bytes()
    whole = 0
    for size in range(len(data)):
        with contextlib.suppress(Damaged):
            read_krl(data[:size])
            whole += 1
    assert whole == 2  # the header, and the header with its first section


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_damaged(data):
    """As a KRL and as a text."""
    for read, blob in ((read_krl, by_hand() + data), (read_krl, data), (read_text, data)):
        with contextlib.suppress(Damaged):
            Revoked(read(blob))


# ------------------------------------------------------------------------------------- serials


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9))), st.integers(0, 70))
def test_ranges_hold_what_they_span(spans, serial):
    """However they meet, touch or repeat."""
    serials = Serials((first, first + more) for first, more in spans)
    assert (serial in serials) is any(first <= serial <= first + more for first, more in spans)


def test_a_range_within_another_does_not_end_it():
    """The wider one goes on behind it."""
    assert 7 in Serials([(0, 9), (3, 4)])


def test_a_serial_of_0_is_never_revoked(folder):
    """Half of the authorities give everybody that one; ssh-keygen takes no such list at all."""
    span = bytes(8) + (5).to_bytes(8, "big")
    revoked = Revoked(read_krl(by_hand(certificate_part(0x21, span))))
    assert not ours(folder / "ca-key-0-cert.pub", revoked)
    assert ours(folder / "ca-key-1-cert.pub", revoked)


@given(st.sets(st.integers(0, 200), min_size=1), st.integers(0, 2**40))
def test_bitmaps_hold_their_bits(bits, first):
    """And no others."""
    number = sum(1 << bit for bit in bits)
    written = number.to_bytes(number.bit_length() // 8 + 1, "big")
    data = first.to_bytes(8, "big") + string(written)
    serials = Serials(read_krl(by_hand(certificate_part(0x22, data))).certificates[None].ranges)
    assert {n - first for n in range(first, first + 202) if n in serials} == bits
    assert first - 1 not in serials


# --------------------------------------------------------------------------------------- texts


def text(folder, said: str) -> Revoked:
    return Revoked(read_text(said.encode()))


def test_a_text_says_what_a_krl_of_it_says(folder):
    """The same lines, read by us and made to a KRL for any authority by ssh-keygen."""
    random.seed(6)
    lines = [
        "serial: 7",
        "serial: 9-12",
        "serial: 9223372036854775808-18446744073709551615",
        "id: key no 3",
        "id: key2 no 0",
        f"hash: {sshkeys.printed(folder / 'other.pub')}",
        f"key: {sshkeys.public(folder / 'key2')}",
        "# nothing",
        "",
    ]
    for _ in range(6):
        said = "\n".join(random.sample(lines, 4)) + "\n"
        made = Revoked(read_krl(krl(folder, said, "-s", "none").read_bytes()))
        mine = text(folder, said)
        paths = [*certificates(folder), *(folder / f"{n}.pub" for n in ("key", "key2", "other"))]
        assert [ours(p, mine) for p in paths] == [ours(p, made) for p in paths]


def test_a_text_can_list_fingerprints_and_keys_alone(folder):
    """Keys as sshd's own list has them, weak ones too."""
    sshkeys.keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", folder / "weak")
    said = f"{sshkeys.printed(folder / 'key.pub')}\n\n  {sshkeys.public(folder / 'weak')}  # old\n"
    mine = text(folder, said)
    assert ours(folder / "key.pub", mine)
    assert ours(folder / "weak.pub", mine)
    assert not ours(folder / "key2.pub", mine)
    assert ours(folder / "ca-key-9-cert.pub", mine)


@pytest.mark.parametrize(
    "line",
    [
        "7",
        "serial: 0",
        "serial: 9-7",
        "serial: 0x7",
        "serial: 18446744073709551616",
        "serial:",
        "id:",
        "hash: SHA1:AAAA",
        "hash: SHA256:AAAA",
        "key: ssh-ed25519 AAAA",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "serials: 7",
        "ssh-ed25519",
    ],
)
def test_a_line_that_cannot_be_read_is_named(line):
    """A typing error must not leave a certificate in force."""
    with pytest.raises(Damaged, match=r"line 2: found '.*'; a line is 'serial: 7'"):
        read_text(f"serial: 5\n{line}\nserial: 6\n".encode())


def test_a_certificate_in_a_text_is_refused(folder):
    """What of it is meant is said by its serial, its id or its key."""
    with pytest.raises(Damaged, match="line 1"):
        read_text((folder / "ca-key-7-cert.pub").read_bytes())


def test_what_is_no_text_is_neither():
    """Of another program."""
    with pytest.raises(Damaged, match="neither a KRL of OpenSSH nor a text"):
        read_text(b"\x30\x82\xff")


def test_an_empty_list_revokes_nothing(folder):
    """And neither does none."""
    for revoked in (Revoked(), text(folder, "")):
        assert not any(ours(path, revoked) for path in certificates(folder))


def test_base64_of_a_blob_is_what_the_names_are_over(folder):
    """A fingerprint in a list is that of the plain key."""
    blob = sshkeys.blob(sshkeys.public(folder / "key"))
    printed = sshkeys.printed(folder / "key.pub").removeprefix("SHA256:")
    assert base64.b64encode(Hashes.of(blob).sha256).decode().rstrip("=") == printed
