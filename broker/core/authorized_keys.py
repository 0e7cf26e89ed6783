"""One line of OpenSSH's `authorized_keys`, as somebody pasted it: sshd(8), AUTHORIZED_KEYS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.core.errors import BadRequest
from broker.core.model import shown
from broker.core.publickeys import KEY_TYPES, WeakKey, unarmoured
from broker.core.sources import network
from broker.core.sshdata import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from broker.core.publickeys import PublicKey

#: Characters of a line, as OpenSSH bounds it, of a name, and networks of one key.
_LONGEST_LINE = 16_384
_LONGEST_NAME = 64
_MOST_SOURCES = 64

_RULE = "one line as in a .pub file is wanted: 'ssh-ed25519 AAAA… comment'."
_EXPIRY_RULE = 'allowed is a day or a time: expiry-time="20301231" or expiry-time="202712311800Z".'
_HONOURED = "from=, expiry-time= and verify-required"

_CERTIFICATE = "-cert-v01@openssh.com"
_DSA = "ssh-dss"

#: An option as it stands in a line, up to its comma or space; a value is in quotes.
_OPTION = re.compile(r'([^\s,="]*)(?:=("(?:\\"|[^"])*"|[^\s,"]*))?')

_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedKey:
    """A public key line, checked."""

    fingerprint: str
    public: str
    """`TYPE BASE64`."""
    name: str
    """The comment, at most 64 characters that print; empty when there was none."""
    sources: tuple[str, ...] = ()
    """Networks as `ADDRESS/BITS`; empty: anywhere."""
    expires_at: datetime | None = None
    verify_required: bool = False


def parse_line(line: str, *, zone: tzinfo | None = None) -> ParsedKey:
    """Read one line; raises `BadRequest` that says what is wrong with it, or which of its options
    cannot be kept. A time without `Z` is one of `zone`, by default of the host, as OpenSSH has it.
    """
    text = line.strip().replace("\t", " ")
    _refuse_other_things(text)
    options, kind, rest = _parts(text)
    encoded, _, comment = rest.partition(" ")
    key = _key(kind, encoded)
    sources, expires_at, verify_required = _honoured(options, key, zone)
    return ParsedKey(
        fingerprint=key.fingerprint,
        public=key.public,
        name=comment.strip()[:_LONGEST_NAME].rstrip(),
        sources=sources,
        expires_at=expires_at,
        verify_required=verify_required,
    )


def _refuse_other_things(text: str) -> None:
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise BadRequest(public=f"This is a private key; keep it to yourself. Instead, {_RULE}")
    if len(text) > _LONGEST_LINE:
        raise BadRequest(public=f"This line is longer than any public key: {_RULE}")
    if "\n" in text or "\r" in text:
        raise BadRequest(public=f"These are several lines: {_RULE} Add one key at a time.")
    if not text.isprintable():
        raise BadRequest(public=f"This line has characters that do not print: {_RULE}")


def _parts(text: str) -> tuple[str, str, str]:
    """The options, the kind of key, and what stands behind it."""
    options, rest = ("", text) if _names_a_kind(text) else _past_options(text)
    kind, _, behind = rest.partition(" ")
    if kind.endswith(_CERTIFICATE):
        raise BadRequest(
            public="This is a certificate, which nobody has to add: it counts where its authority"
            f" is trusted. For a key of your own, {_RULE}"
        )
    if kind == _DSA:
        raise BadRequest(
            public=f"DSA keys are too weak; make one by 'ssh-keygen -t ed25519': {_RULE}"
        )
    if kind not in KEY_TYPES:
        raise BadRequest(public=f"{shown(text[:40])} is no public key: {_RULE}")
    return options, kind, behind.lstrip()


def _names_a_kind(text: str) -> bool:
    kind = text.partition(" ")[0]
    return kind in KEY_TYPES or kind == _DSA or kind.endswith(_CERTIFICATE)


def _past_options(text: str) -> tuple[str, str]:
    """Up to the first space outside quotes, and from there."""
    quoted = False
    for at, character in enumerate(text):
        if character == '"' and text[at - 1 : at] != "\\":
            quoted = not quoted
        elif character == " " and not quoted:
            return text[:at], text[at:].lstrip()
    return text, ""


def _key(kind: str, encoded: str) -> PublicKey:
    try:
        return unarmoured(kind, encoded)
    except WeakKey as weak:
        raise BadRequest(
            public=f"This key cannot be used: {weak}. Make one by 'ssh-keygen -t ed25519'."
        ) from None
    except Damaged as damage:
        raise BadRequest(public=f"This {kind} key is damaged, {damage}: {_RULE}") from None


# -------------------------------------------------------------------------------------- options


def _honoured(
    options: str, key: PublicKey, zone: tzinfo | None
) -> tuple[tuple[str, ...], datetime | None, bool]:
    sources: tuple[str, ...] = ()
    expires_at: datetime | None = None
    verify_required = False
    for name, value in _each(options):
        match name.lower():
            case "from" if value is not None:
                if sources:
                    raise BadRequest(public="The option from= stands here twice; join the two.")
                sources = _sources(value)
            case "expiry-time" if value is not None:
                at = _expiry(value, zone)
                expires_at = min(expires_at or at, at)
            case "verify-required" if value is None:
                if not key.hardware:
                    raise BadRequest(
                        public="The option verify-required is for security keys (sk-…), and this"
                        f" is a key of type {key.type}: leave it out."
                    )
                verify_required = True
            case _:
                named = name if value is None else f"{name}="
                raise BadRequest(
                    public=f"The option {shown(named)} cannot be honoured: leave it out;"
                    f" {_HONOURED} can be."
                )
    return sources, expires_at, verify_required


def _each(options: str) -> Iterator[tuple[str, str | None]]:
    """Name and value of each option; the value out of its quotes."""
    at = 0
    while at < len(options):
        found = _OPTION.match(options, at)
        if found is None or not found[1] or options[found.end() : found.end() + 1] not in {"", ","}:
            raise BadRequest(
                public=f"The options {shown(options)} cannot be read: they are separated by commas,"
                ' and values are in quotes: from="192.0.2.0/24".'
            )
        name, value = found[1], found[2]
        if value is not None and not value.startswith('"'):
            raise BadRequest(
                public=f'The value of {shown(name + "=")} must be in quotes: {name[:40]}="…".'
            )
        yield name, None if value is None else value[1:-1].replace('\\"', '"')
        at = found.end() + 1


def _sources(value: str) -> tuple[str, ...]:
    patterns = value.split(",")
    if len(patterns) > _MOST_SOURCES:
        raise BadRequest(
            public=f"from= names {len(patterns)} sources; at most {_MOST_SOURCES} are allowed."
        )
    return tuple(dict.fromkeys(_source(pattern.strip()) for pattern in patterns))


def _source(pattern: str) -> str:
    if pattern.startswith("!"):
        what = "excludes something, which cannot be honoured"
    elif set(pattern) & {"*", "?"}:
        what = "is a pattern, which cannot be honoured"
    else:
        try:
            return network(pattern)
        except ValueError as error:
            raise BadRequest(public=f"{shown(pattern)} in from=: {error}.") from None
    raise BadRequest(
        public=f"{shown(pattern)} in from= {what}; write the addresses and networks it may be"
        " used from: 192.0.2.7, 2001:db8::/48."
    )


def _expiry(value: str, zone: tzinfo | None) -> datetime:
    found = re.fullmatch(r"([0-9]+)(Z|UTC)?", value, re.IGNORECASE)
    form = _TIMES.get(len(found[1])) if found else None
    if found is None or form is None:
        raise BadRequest(public=f"expiry-time={shown(value)} is no time: {_EXPIRY_RULE}")
    try:
        at = datetime.strptime(found[1], form).replace(tzinfo=UTC if found[2] else zone)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(public=f"expiry-time={shown(value)} is no time: {_EXPIRY_RULE}") from None
