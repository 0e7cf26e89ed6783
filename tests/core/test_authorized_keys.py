"""Lines of `authorized_keys` as they are pasted: what is kept, and what is refused in which words."""

import base64
import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.authorized_keys import parse_line
from broker.core.errors import BadRequest
from broker.core.sshdata import string
from tests import sshkeys

BLOB = string(b"ssh-ed25519") + string(sshkeys.counted("key", 32))
KEY = sshkeys.line("ssh-ed25519", BLOB)
SK = sshkeys.line(*sshkeys.security_key(BLOB))


def refused(line: str) -> str:
    with pytest.raises(BadRequest) as caught:
        parse_line(line)
    sentence = caught.value.public
    assert sentence.isprintable()
    assert len(sentence) < 400
    return sentence


@pytest.mark.parametrize("kind", sshkeys.KINDS)
def test_fingerprints_are_those_of_the_real_ssh_keygen(kind, tmp_path):
    """Of every kind that it makes."""
    path = sshkeys.made(tmp_path, "key", kind, "ada@laptop")
    found = parse_line(sshkeys.public(path))
    assert found.fingerprint == sshkeys.printed(path)
    assert f"{found.public} ada@laptop" == sshkeys.public(path)
    assert found.name == "ada@laptop"
    assert (found.sources, found.expires_at, found.verify_required) == ((), None, False)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256"])
def test_fingerprints_of_security_keys_are_the_same_too(kind, tmp_path):
    """Their blobs hold an application."""
    plain = sshkeys.blob(sshkeys.public(sshkeys.made(tmp_path, "key", kind)))
    line = sshkeys.line(*sshkeys.security_key(plain), "yubi")
    (tmp_path / "sk.pub").write_text(line + "\n")
    assert parse_line(line).fingerprint == sshkeys.printed(tmp_path / "sk.pub")


# ------------------------------------------------------------------------------------- the line


def test_a_name_is_the_comment_as_far_as_it_fits():
    """Spaces inside stay, and none is no name."""
    assert parse_line(KEY).name == ""
    assert parse_line(f"  {KEY}   my old laptop \r\n").name == "my old laptop"
    assert parse_line(KEY.replace(" ", "\t") + "\tx").name == "x"
    assert parse_line(f"{KEY} {'n' * 63}  {'m' * 60}").name == "n" * 63


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("", "'' is no public key: one line as in a .pub file is wanted"),
        ("hello", "'hello' is no public key"),
        ("hello world", "'hello world' is no public key"),
        ("ssh-ed25519", "This ssh-ed25519 key is damaged, the key ends too early"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "This is a private key; keep it to yourself"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "This is a private key"),
        (f"{KEY}\n{KEY}", "These are several lines"),
        (f"{KEY}\r{KEY}", "These are several lines"),
        (f"{KEY} a\x07b", "characters that do not print"),
        (f"{KEY} a\u202eb", "characters that do not print"),
        (f"{KEY} a\udcffb", "characters that do not print"),
        (f'from="\x1b[2J" {KEY}', "characters that do not print"),
        (f"{KEY} {'x' * 17000}", "longer than any public key"),
        ("ssh-dss AAAAB3NzaC1kc3M= old", "DSA keys are too weak"),
        (f"ssh-ed25519-cert-v01@openssh.com {KEY.split()[1]}", "This is a certificate"),
        (f"{KEY[:-3]}", "its base64 is cut or damaged"),
        (f"{KEY}!", "its base64 is cut or damaged"),
        (sshkeys.line("ssh-ed25519", BLOB + b"x"), "bytes after its end"),
        (sshkeys.line("ssh-rsa", BLOB), "it says 'ssh-rsa' and is 'ssh-ed25519'"),
        ("---- BEGIN SSH2 PUBLIC KEY ----", "is no public key"),
    ],
)
def test_what_is_no_public_key_line_is_told_why(line, part):
    """One sentence that says what is wanted."""
    assert part in refused(line)


def test_a_weak_rsa_key_is_refused_by_its_bits(tmp_path):
    """With the way to a better one."""
    path = tmp_path / "weak"
    sshkeys.keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", path)
    assert refused(sshkeys.public(path)) == (
        "This key cannot be used: an RSA key of 1024 bits is too weak; 2048 or more are wanted."
        " Make one by 'ssh-keygen -t ed25519'."
    )


def test_a_real_certificate_is_refused(tmp_path):
    """It is no key."""
    ca, key = sshkeys.made(tmp_path, "ca"), sshkeys.made(tmp_path, "key")
    sshkeys.keygen("-q", "-s", ca, "-I", "x", "-n", "ada", f"{key}.pub")
    assert "This is a certificate" in refused((tmp_path / "key-cert.pub").read_text())


# -------------------------------------------------------------------------------------- options


def test_sources_are_addresses_and_networks():
    """Written one way, each once."""
    found = parse_line(f'from="192.0.2.7,2001:DB8::/48, 10.0.0.0/8,192.0.2.7/32" {KEY} x')
    assert found.sources == ("192.0.2.7/32", "2001:db8::/48", "10.0.0.0/8")
    assert found.name == "x"


@pytest.mark.parametrize(
    ("sources", "part"),
    [
        ("!192.0.2.7", "'!192.0.2.7' in from= excludes something"),
        ("192.0.2.7,!10.0.0.0/8", "'!10.0.0.0/8' in from= excludes something"),
        ("192.0.2.*", "'192.0.2.*' in from= is a pattern"),
        ("192.0.2.?", "is a pattern"),
        ("*.example.org", "is a pattern"),
        ("lab.example.org", "'lab.example.org' in from=: allowed are addresses and networks"),
        ("192.0.2.7/24", "begins: 192.0.2.0/24"),
        ("", "'' in from=: allowed are"),
        ("192.0.2.7,", "'' in from=: allowed are"),
        (",".join(f"10.0.0.{n}" for n in range(65)), "names 65 sources; at most 64"),
    ],
)
def test_other_sources_are_refused_by_the_part_that_is_wrong(sources, part):
    """None is passed over: a key must not count from further than its owner wrote."""
    assert part in refused(f'from="{sources}" {KEY}')


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("20301231", datetime(2030, 12, 30, 23, tzinfo=UTC)),
        ("20300701", datetime(2030, 6, 30, 22, tzinfo=UTC)),
        ("203012311800", datetime(2030, 12, 31, 17, tzinfo=UTC)),
        ("20301231180059", datetime(2030, 12, 31, 17, 0, 59, tzinfo=UTC)),
        ("20301231Z", datetime(2030, 12, 31, tzinfo=UTC)),
        ("20301231180059z", datetime(2030, 12, 31, 18, 0, 59, tzinfo=UTC)),
        ("203012311800UTC", datetime(2030, 12, 31, 18, tzinfo=UTC)),
    ],
)
def test_times_without_z_are_the_hosts(text, at):
    """As OpenSSH reads them, summer time included."""
    assert (
        parse_line(f'expiry-time="{text}" {KEY}', zone=ZoneInfo("Europe/Berlin")).expires_at == at
    )


def test_the_zone_is_that_of_the_process_by_default():
    """As sshd's."""
    at = datetime(2030, 7, 1, 12, 30, tzinfo=UTC).replace(tzinfo=None)
    found = parse_line(f'expiry-time="203007011230" {KEY}').expires_at
    assert found == at.astimezone(UTC)
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    ["", "2030", "20301331", "20301231T1200", "203012312460", "00000101Z", "99991231235959+"],
)
def test_what_is_no_time_is_refused(text):
    """With one that is."""
    assert "is no time: allowed is a day or a time" in refused(f'expiry-time="{text}" {KEY}')


def test_times_at_the_ends_of_the_calendar_are_no_crash():
    """A zone moves them out of it."""
    assert "is no time" in refused_in(f'expiry-time="00010101" {KEY}', ZoneInfo("Asia/Tokyo"))


def refused_in(line: str, zone: ZoneInfo) -> str:
    with pytest.raises(BadRequest) as caught:
        parse_line(line, zone=zone)
    return caught.value.public


def test_of_two_times_the_earlier_counts():
    """As with OpenSSH."""
    early, late = 'expiry-time="20300101Z"', 'expiry-time="20310101Z"'
    for options in (f"{early},{late}", f"{late},{early}"):
        assert parse_line(f"{options} {KEY}").expires_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_a_pin_can_be_required_of_a_security_key_alone():
    """Another kind could never keep it."""
    assert parse_line(f"verify-required {SK}").verify_required
    assert parse_line(f'VERIFY-REQUIRED,From="::1" {SK}').verify_required
    assert "verify-required is for security keys" in refused(f"verify-required {KEY}")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ('command="/bin/sh -c \\"rm -rf /\\", really"', "'command='"),
        ("restrict", "'restrict'"),
        ("no-pty", "'no-pty'"),
        ("pty", "'pty'"),
        ("no-port-forwarding", "'no-port-forwarding'"),
        ("port-forwarding", "'port-forwarding'"),
        ("no-agent-forwarding", "'no-agent-forwarding'"),
        ("no-X11-forwarding", "'no-X11-forwarding'"),
        ("no-user-rc", "'no-user-rc'"),
        ("no-touch-required", "'no-touch-required'"),
        ("no-verify-required", "'no-verify-required'"),
        ("cert-authority", "'cert-authority'"),
        ('principals="ada,bob"', "'principals='"),
        ('environment="LD_PRELOAD=/x"', "'environment='"),
        ('permitopen="localhost:80"', "'permitopen='"),
        ('permitlisten="8080"', "'permitlisten='"),
        ('tunnel="0"', "'tunnel='"),
        ("from", "'from'"),
        ('verify-required="x"', "'verify-required='"),
        ("nonsense", "'nonsense'"),
    ],
)
def test_every_other_option_is_refused_by_its_name(option, named):
    """Ignoring one would give more than its owner meant."""
    wanted = (
        f"The option {named} cannot be honoured: leave it out;"
        " from=, expiry-time= and verify-required can be."
    )
    assert refused(f"{option} {KEY} x") == wanted
    assert refused(f'from="192.0.2.7",{option} {KEY} x') == wanted


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("from=192.0.2.7", "The value of 'from=' must be in quotes"),
        ('from="192.0.2.7"x', "cannot be read"),
        (",", "cannot be read"),
        ('="x"', "cannot be read"),
        ('from="192.0.2.7",,expiry-time="20300101"', "cannot be read"),
        ('from="192.0.2.7",from="::1"', "stands here twice"),
    ],
)
def test_options_that_cannot_be_read_are_refused(options, part):
    """Values are in quotes, and commas between options."""
    assert part in refused(f"{options} {KEY}")


def test_a_quote_that_never_ends_is_no_key():
    """The key is inside it."""
    assert "is no public key" in refused(f'from="192.0.2.7 {KEY}')


# ----------------------------------------------------------------------------------- any text


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_one_sentence(text):
    """Alone, as options, and as a comment; nothing else is raised, and nothing is passed over."""
    for line in (text, f"{text} {KEY}", f"{KEY} {text}"):
        try:
            found = parse_line(line)
        except BadRequest as error:
            assert error.public.isprintable()
            assert len(error.public) < 500
        else:
            assert found.public == KEY
            assert found.name.isprintable()
            assert len(found.name) <= 64


@given(st.binary(max_size=120))
def test_any_blob_is_a_key_or_one_sentence(data):
    """Under each name."""
    for kind in ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp521", "sk-ssh-ed25519@openssh.com"):
        try:
            found = parse_line(f"{kind} {base64.b64encode(data).decode()} x")
        except BadRequest as error:
            assert error.public.isprintable()
        else:
            assert found.public.split()[0] == kind


def test_of_damaged_keys_none_is_taken_that_ssh_keygen_refuses(tmp_path):
    """A flipped bit is met, or makes another key: then both print the same fingerprint of it."""
    taken = []
    lines = []
    for kind in sshkeys.KINDS:
        whole = sshkeys.blob(sshkeys.public(sshkeys.made(tmp_path, kind, kind)))
        name = sshkeys.public(tmp_path / kind).split()[0]
        for seed in range(60):
            damaged = bytearray(whole)
            at = int.from_bytes(sshkeys.counted(f"{kind}{seed}", 4), "big")
            damaged[at // 8 % len(whole)] ^= 1 << at % 8
            lines.append(sshkeys.line(name, bytes(damaged)))
    for line in lines:
        with contextlib.suppress(BadRequest):
            taken.append(parse_line(line).fingerprint)
    (tmp_path / "all.pub").write_text("\n".join(lines) + "\n")
    printed = sshkeys.keygen("-l", "-f", tmp_path / "all.pub").splitlines()
    assert len(taken) > 30
    assert set(taken) <= {one.split()[1] for one in printed}


OPTIONS = st.sampled_from(
    ['from="192.0.2.7"', 'from="10.0.0.0/8"', 'expiry-time="20300101"', "verify-required", "no-pty"]
)


@given(st.lists(OPTIONS, min_size=1, max_size=4))
def test_whatever_options_are_joined_each_is_kept_or_named(options):
    """A line that is taken says all that its options said."""
    try:
        found = parse_line(f"{','.join(options)} {SK}")
    except BadRequest:
        assert "no-pty" in options or sum(one.startswith("from") for one in options) > 1
    else:
        assert "no-pty" not in options
        assert bool(found.sources) is any(one.startswith("from") for one in options)
        assert (found.expires_at is None) is ('expiry-time="20300101"' not in options)
        assert found.verify_required is ("verify-required" in options)
