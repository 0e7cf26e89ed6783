"""The arguments that name something, and what a shell completes them to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from broker.cli.client import Client
from broker.cli.ctl import part
from broker.cli.ctl_place import place
from broker.cli.output import safe
from broker.core.errors import DeskError
from broker.core.policy import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: Seconds: whoever pressed a key waits for it.
_PATIENCE = 2.0

#: More help no shell has a use for.
_MOST = 500

#: What no shell takes for several words, or for a command.
_WORD = re.compile(r"[\w@%+,./:-]+", re.ASCII)


def named(path: str, field: str, *told: str) -> Completion:
    """Complete to that field of the list at `path`, in which `{name}` and the like are what stands
    before on the line; `told` are the fields that say what each is. Quiet where no broker answers.
    """

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before = {key: part(str(value)) for key, value in context.params.items() if value}
        try:
            client = Client(place(context.find_root()), timeout=_PATIENCE)
            items = client.call("GET", path.format(**before), query={"limit": str(_MOST)})["items"]
        except (DeskError, KeyError):
            return []
        return list(_fitting(items, field, told, incomplete))

    return complete


def _fitting(
    items: Sequence[dict[str, Any]], field: str, told: Sequence[str], incomplete: str
) -> list[CompletionItem]:
    found = []
    for item in items:
        value = str(item[field] or "")
        if value.startswith(incomplete) and _WORD.fullmatch(value):
            help_ = " ".join(safe(str(item[name])) for name in told if item.get(name) is not None)
            found.append(CompletionItem(value, help=help_ or None))
    return found


def _keys(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(f"{key}=") for key in KEYS if key.startswith(incomplete)]


USERS = named("/users", "name")
_GROUPS = named("/groups", "name")
_KEYS = named("/users/{name}/keys", "name", "fingerprint")
SESSIONS = named("/sessions", "id", "user", "desktop", "state")
DESKTOPS = named("/desktops", "id", "user", "name", "state")
_INVITES = named("/invites", "id", "user", "state")
_TOKENS = named("/tokens", "id", "user", "name")
_SIGN_INS = named("/sign-ins", "id", "user", "browser", "address")
_SHARES = named("/shares", "id", "user", "desktop")
_TEMPLATES = named("/templates", "name")
_BLOCKS = named("/login-blocks", "account", "place")

USER = click.argument("name", shell_complete=USERS)
MEMBER = click.argument("user", shell_complete=USERS)
GROUP = click.argument("name", shell_complete=_GROUPS)
KEY = click.argument("key_named", metavar="KEY", shell_complete=_KEYS)
SESSION = click.argument("session_id", metavar="ID", shell_complete=SESSIONS)
DESKTOP = click.argument("desktop_id", metavar="ID", shell_complete=DESKTOPS)
INVITE = click.argument("invite_id", metavar="ID", shell_complete=_INVITES)
TOKEN = click.argument("token_id", metavar="ID", shell_complete=_TOKENS)
SIGN_IN = click.argument("sign_in_id", metavar="ID", shell_complete=_SIGN_INS)
SHARE = click.argument("share_id", metavar="ID", shell_complete=_SHARES)
TEMPLATE = click.argument("name", shell_complete=_TEMPLATES)
VALUES = click.argument("values", metavar="KEY=VALUE", nargs=-1, shell_complete=_keys)
BLOCKED = click.argument("name", shell_complete=_BLOCKS)

#: Lists of a user's alone.
OF_USER = click.option("--user", help="Those of that user.", shell_complete=USERS)
