"""The words that the broker answers, how each is written, and what a caller said by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core.errors import BadRequest
from broker.core.model import shown
from broker.core.shares import Mode
from broker.service.identities import actor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.gateway import Identity
    from broker.core.model import Actor, User

#: Each word, how it is written and what it does; `docs/commands.md` names them all.
WORDS: dict[str, tuple[str, str]] = {
    "help": ("help", "show these words"),
    "list": ("list", "your desktops and what they do now"),
    "status": ("status [NAME]", "one desktop in full"),
    "why": ("why [NAME]", "what keeps it awake, and when it sleeps"),
    "start": ("start [NAME]", "start a desktop; a new NAME makes one"),
    "stop": ("stop [NAME]", "stop a desktop; its home stays"),
    "extend": ("extend [TIME] [NAME]", "keep it awake for so long, 4h when not said; 0 ends that"),
    "keep": ("keep [NAME]", "keep it awake for as long as one may"),
    "sleep": ("sleep [NAME]", "let it sleep now; programs stay as they are"),
    "connect": ("connect [NAME]", "lines for ssh, sftp, xpra, VS Code and a browser"),
    "ssh-config": ("ssh-config [NAME]", "a block for ~/.ssh/config, by which 'ssh desk' is enough"),
    "web": ("web [NAME]", "a link that signs a browser in, once: to your page or that desktop"),
    "share": (
        "share [NAME] [MODE] [TIME]",
        "a link to show a desktop: MODE ro, to look, or rw, to take part; ro and 30m when not said",
    ),
    "share ls": ("share ls", "what you show, and who is in or asks to be"),
    "share end": ("share end ID", "end a share, or send one guest away"),
    "share let-in": ("share let-in ID", "let in whoever asks"),
    "share refuse": ("share refuse ID", "do not let them in"),
    "whoami": ("whoami", "who you are here, how you proved it, and what you may do"),
    "keys": ("keys", "the keys that prove you"),
    "keys add": ("keys add LINE", "add a key: a line as in a .pub file or authorized_keys"),
    "keys rm": ("keys rm KEY", "take a key away, by its name or fingerprint"),
    "keys rename": ("keys rename KEY NEW", "give a key another name"),
    "password": ("password", "whether you have a password"),
    "password new": ("password new", "make you a new password, shown once"),
    "password rm": ("password rm", "take your password away"),
    "code": ("code", "whether you have one-time codes"),
    "code enrol": ("code enrol", "show what your authenticator needs, once"),
    "code confirm": ("code confirm CODE", "ask for codes from now on; shows recovery codes, once"),
    "code rm": ("code rm", "take one-time and recovery codes away"),
}

#: What is answered inside a desktop: whatever runs there speaks for it alone.
INSIDE = frozenset(
    {
        *("help", "status", "why", "stop", "extend", "keep", "sleep"),
        *("share ls", "share end", "share let-in", "share refuse"),
    }
)

#: What is answered to whoever is let in to set up a one-time code; not what takes one away, for
#: their connection can be older than the code.
ENROLLING = frozenset({"help", "whoami", "code", "code enrol", "code confirm"})

_ALIASES = {"keys list": "keys", "password status": "password", "code status": "code"}


@dataclass(frozen=True, slots=True)
class Call:
    """A word as it was said."""

    word: str
    time: str | None = None
    name: str | None = None
    """Of a desktop."""
    mode: str | None = None
    """Of a share."""
    said: tuple[str, ...] = field(default=(), repr=False)
    """What else the word needs, as its usage names it; a line in its parts. Can be a code."""
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who says it."""

    user: User
    desktop: str
    """The one that is meant when none is named."""
    identity: Identity | None = None
    """None for what runs in that desktop, which is then the only one to speak of."""

    @property
    def inside(self) -> bool:
        return self.identity is None

    @property
    def actor(self) -> Actor | str:
        return f"user:{self.user.name}" if self.identity is None else actor_of(self.identity)


@dataclass(frozen=True, slots=True)
class Facts:
    """One answer in both its forms."""

    data: object = field(repr=False)
    text: str = field(repr=False)


def parse(argv: Sequence[str], *, inside: bool = False) -> Call:
    """Raises `BadRequest` with what is allowed."""
    plain = [part for part in argv if part not in {"--json", "--help", "-h"}]
    if "--help" in argv or "-h" in argv or not plain:
        plain = ["help"]
    word, rest = _word(plain, inside=inside)
    usage = WORDS[word][0] if not inside else WORDS[word][0].replace(" [NAME]", "")
    mode = time = None
    if "[MODE]" in usage:
        time = rest.pop() if rest and rest[-1][:1].isdigit() else None
        mode = rest.pop() if rest and rest[-1] in tuple(Mode) else None
    elif "[TIME]" in usage:
        time = rest.pop(0) if rest and rest[0][:1].isdigit() else None
    name = rest.pop(0) if "[NAME]" in usage and rest else None
    wanted = [part for part in usage.split() if part.isalpha() and part.isupper()]
    if wanted == ["LINE"]:
        said, rest = rest, []
    elif len(wanted) == 1:
        said, rest = [" ".join(rest)] if rest else [], []
    else:
        said, rest = rest[: len(wanted)], rest[len(wanted) :]
    if rest or len(said) < len(wanted) or (name or "").startswith("-"):
        raise BadRequest(public=f"This is written 'desk {usage} [--json]'.")
    return Call(word, time, name, mode, tuple(said), "--json" in argv)


def _word(plain: list[str], *, inside: bool) -> tuple[str, list[str]]:
    """Of one part or two, and what stands behind it."""
    allowed = [name for name in WORDS if not inside or name in INSIDE]
    pair = " ".join(plain[:2])
    pair = _ALIASES.get(pair, pair)
    if len(plain) > 1 and pair in allowed:
        return pair, plain[2:]
    family = [WORDS[name][0] for name in allowed if name.split()[0] == plain[0]]
    if not family or (len(plain) == 1 and plain[0] not in allowed):
        where = " inside a desktop" if inside else ""
        firsts = ((name.split()[0], name) for name in allowed)
        first = ", ".join(dict.fromkeys(one if one in allowed else name for one, name in firsts))
        raise BadRequest(public=f"{shown(plain[0])} is no word of Desk{where}; there are {first}.")
    takes = WORDS.get(plain[0], ("",))[0] != plain[0]
    if plain[0] in allowed and (takes or len(plain) == 1 or len(family) == 1):
        return plain[0], plain[1:]
    raise BadRequest(
        public=f"{shown(plain[1])} is no word of 'desk {plain[0]}'; there are {', '.join(family)}."
    )


def listed(rows: Sequence[Sequence[str]]) -> str:
    """Columns under their titles, which are the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
