"""What people say about themselves: who they are here, and what proves them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied
from broker.core.model import LOCAL, shown
from broker.core.policy import written
from broker.service.identities import proof
from broker.service.vocabulary import Facts, listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from broker.core.gateway import Identity
    from broker.core.interfaces import Store
    from broker.core.model import Key
    from broker.service.accounts import End
    from broker.service.desktop_words import Say
    from broker.service.ownaccess import OwnAccess
    from broker.service.policies import Policies
    from broker.service.vocabulary import Call, Caller

#: A value of an option that lost its quotes on the way through a shell: up to the next option.
_VALUE = re.compile(r"([a-z-]+)=((?:(?!,[a-z-]+(?:=|,|$)).)*)")


class IdentityWords:
    """Answers whoever is proven, never what runs in a desktop. `later` does something once the
    answer is out.
    """

    def __init__(
        self,
        own: OwnAccess,
        *,
        store: Store,
        policies: Policies,
        end: End,
        later: Callable[[Callable[[], Awaitable[object]]], None],
    ) -> None:
        self._own = own
        self._store = store
        self._policies = policies
        self._end = end
        self._later = later

    def answers(self) -> Mapping[str, Say]:
        return {
            "whoami": self.whoami,
            "keys": self.keys,
            "keys add": self.add_key,
            "keys rm": self.remove_key,
            "keys rename": self.rename_key,
            "password": self.password,
            "password new": self.new_password,
            "password rm": self.remove_password,
            "code": self.code,
            "code enrol": self.enrol,
            "code confirm": self.confirm,
            "code rm": self.remove_codes,
        }

    async def whoami(self, caller: Caller, _call: Call) -> Facts:
        identity = _proven(caller)
        policy = (await self._policies.of(caller.user.id)).policy
        groups = await self._store.groups_of(caller.user.id)
        data = {
            "user": caller.user.name,
            "admin": caller.user.admin,
            "proof": proof(identity.credential, identity.method),
            "from": identity.address,
            "groups": [group.name for group in groups],
            "ways": sorted(policy.ways),
            "allowed": list(identity.allowed),
            "desktops": policy.desktops,
            "running": policy.running,
        }
        told = {
            "user": f"{caller.user.name}{' (an admin)' if caller.user.admin else ''}",
            "proved by": data["proof"],
            "from": identity.address,
            "groups": ", ".join(group.name for group in groups) or "none",
            "let in by": written("login.ways", policy.ways),
            "allowed": ", ".join(identity.allowed) or "none of what can be refused",
            "desktops": f"{policy.desktops} at most, {policy.running} running at a time",
        }
        return Facts(data, _lines(told))

    # ----------------------------------------------------------------------------------------- keys

    async def keys(self, caller: Caller, _call: Call) -> Facts:
        _proven(caller)
        keys = await self._own.keys(caller.user)
        if not keys:
            return Facts([], "You have no keys; 'desk keys add LINE' adds one.")
        rows = [("NAME", "FINGERPRINT", "EXPIRES", "FROM", "LAST USED")]
        rows += [
            (
                key.name,
                key.fingerprint,
                _time(key.expires_at) or "never",
                ",".join(key.sources) or "anywhere",
                " from ".join(filter(None, (_time(key.last_used_at), key.last_used_from))) or "-",
            )
            for key in keys
        ]
        return Facts([_key(key) for key in keys], listed(rows))

    async def add_key(self, caller: Caller, call: Call) -> Facts:
        key = await self._own.add_key(_proven(caller), _line(call.said))
        return Facts(_key(key), f"{key.fingerprint} now proves you; it is called {key.name}.")

    async def rename_key(self, caller: Caller, call: Call) -> Facts:
        key = await self._own.rename_key(_proven(caller), *call.said)
        return Facts(_key(key), f"{key.fingerprint} is now called {key.name}.")

    async def remove_key(self, caller: Caller, call: Call) -> Facts:
        identity = _proven(caller)
        key = await self._own.remove_key(
            identity, caller.user, call.said[0], self._ending(identity)
        )
        return Facts(_key(key), f"{shown(key.name)} proves you no more; what it opened ends.")

    # ------------------------------------------------------------------------------------- password

    async def password(self, caller: Caller, _call: Call) -> Facts:
        _proven(caller)
        source = caller.user.source
        if source != LOCAL:
            return Facts({"source": source}, f"Your password is checked by {source}.")
        there = await self._own.has_password(caller.user)
        told = "You have a password." if there else "You have no password."
        return Facts({"source": source, "password": there}, told)

    async def new_password(self, caller: Caller, _call: Call) -> Facts:
        identity = _proven(caller)
        made = await self._own.new_password(identity, caller.user, self._ending(identity))
        told = f"{made}\nThis is your password from now on. It is shown once: keep it well."
        return Facts({"password": made}, told)

    async def remove_password(self, caller: Caller, _call: Call) -> Facts:
        identity = _proven(caller)
        await self._own.remove_password(identity, caller.user, self._ending(identity))
        return Facts({"password": False}, "You have no password any more; what it opened ends.")

    # ---------------------------------------------------------------------------------------- codes

    async def code(self, caller: Caller, _call: Call) -> Facts:
        _proven(caller)
        codes = await self._store.codes(caller.user.id)
        if codes is None or codes.confirmed_at is None:
            begun = codes is not None
            told = "You have no one-time codes; 'desk code enrol' sets them up."
            if begun:
                told = "One-time codes are begun: 'desk code confirm CODE' ends that."
            return Facts({"codes": False, "begun": begun}, told)
        left = codes.recovery_left
        return Facts(
            {"codes": True, "since": codes.confirmed_at.isoformat(), "recovery_left": left},
            f"You have one-time codes since {_time(codes.confirmed_at)}, and {left} recovery codes.",
        )

    async def enrol(self, caller: Caller, _call: Call) -> Facts:
        begun = await self._own.begin_codes(_proven(caller), caller.user)
        told = (
            f"{begun.picture}\nScan this with an authenticator, or type in: {begun.secret}\n"
            f"{begun.uri}\nThen show a code of it: desk code confirm CODE"
        )
        return Facts({"secret": begun.secret.replace(" ", ""), "uri": begun.uri}, told)

    async def confirm(self, caller: Caller, call: Call) -> Facts:
        codes = await self._own.confirm_codes(_proven(caller), caller.user, call.said[0])
        lines = "\n".join(f"  {code}" for code in codes)
        return Facts(
            {"recovery": list(codes)},
            "One-time codes are asked for from now on. Each of these gets you in once when you have"
            f" lost your authenticator; they are shown once, so keep them well:\n{lines}",
        )

    async def remove_codes(self, caller: Caller, _call: Call) -> Facts:
        await self._own.remove_codes(_proven(caller), caller.user)
        return Facts({"codes": False}, "You have no one-time codes and no recovery codes any more.")

    # -------------------------------------------------------------------------------------- ending

    def _ending(self, identity: Identity) -> End:
        """Ends what a credential opened: one's own once the answer is out by it."""

        async def end(credential: str) -> None:
            if credential == identity.credential:
                self._later(lambda: self._end(credential))
            else:
                await self._end(credential)

        return end


def _proven(caller: Caller) -> Identity:
    """Raises `AccessDenied` for what runs in a desktop: it is not the person."""
    if caller.identity is None:
        raise AccessDenied("a desktop asked who its owner is")
    return caller.identity


def _line(said: tuple[str, ...]) -> str:
    """The line as it was before a shell took the quotes out of its options."""
    first, *rest = said
    if "=" in first and '"' not in first and rest:
        first = _VALUE.sub(r'\1="\2"', first)
    return " ".join([first, *rest])


def _key(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "expires_at": _time(key.expires_at),
        "sources": list(key.sources),
        "verify_required": key.verify_required,
        "last_used_at": _time(key.last_used_at),
        "last_used_from": key.last_used_from,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%dT%H:%MZ")


def _lines(told: Mapping[str, object]) -> str:
    return "\n".join(f"{name:<9} {value}" for name, value in told.items())
