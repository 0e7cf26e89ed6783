"""Who somebody is: keys, certificates, passwords, one-time codes and invites, as the policy of each
user's groups wants them.
"""

from __future__ import annotations

import base64
from contextlib import ExitStack
from typing import TYPE_CHECKING

from broker.core.digest import hashed
from broker.core.errors import (
    AccessDenied,
    BadRequest,
    CapacityExhausted,
    NotFound,
    SourceUnavailable,
)
from broker.core.gateway import Allowance, CodeWanted, Identity, Invited
from broker.core.model import LOCAL, Actor, UserId, user_name
from broker.core.policy import Way
from broker.core.publickeys import read_key
from broker.service.blocks import network_of
from broker.service.credentials import WAYS, Proof, suits
from broker.service.identities import BROWSER, CODE, PASSWORD, outside, proof
from broker.service.tickets import Shown

if TYPE_CHECKING:
    from broker.core.gateway import Login, OfferedKey
    from broker.core.interfaces import Store
    from broker.core.model import User
    from broker.service.blocks import LoginBlocks
    from broker.service.codes import OneTimeCodes
    from broker.service.credentials import Credentials
    from broker.service.invites import Invites
    from broker.service.logins import Logins
    from broker.service.passwords import Passwords
    from broker.service.policies import Policies
    from broker.service.signins import SignIns
    from broker.service.sources import Newcomers
    from broker.service.tickets import Tickets

#: What whoever loses what proved them is told.
TAKEN_AWAY = "Your account, password or key was taken away."

#: What whoever is let in to set up a code is told of everything else.
ENROL_FIRST = (
    "You have to set up a one-time code before anything else: ask for 'desk code enrol', as in"
    " 'ssh desk@… desk code enrol'."
)

#: What nobody is called, in name and id: as much is looked up for a name that cannot be one.
_NOBODY = UserId("")

#: Characters of what was typed as a name that tell one account from another.
_ACCOUNT = 64


class Authentication:
    """Answers the front door. As much is done for names that nobody has as for others."""

    def __init__(
        self,
        *,
        store: Store,
        credentials: Credentials,
        policies: Policies,
        passwords: Passwords,
        codes: OneTimeCodes,
        blocks: LoginBlocks,
        invites: Invites,
        tickets: Tickets,
        logins: Logins,
        newcomers: Newcomers,
        sign_ins: SignIns,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._policies = policies
        self._passwords = passwords
        self._codes = codes
        self._blocks = blocks
        self._invites = invites
        self._tickets = tickets
        self._logins = logins
        self._newcomers = newcomers
        self._sign_ins = sign_ins

    # ------------------------------------------------------------------------- keys and invites

    async def identify(
        self, login: Login, key: OfferedKey, address: str
    ) -> Identity | CodeWanted | Invited | None:
        """As the gateway's. Changes nothing."""
        if login.invite is not None:
            user = await self._invitee(login.invite, key)
            owner = await self._store.key_owner(key.fingerprint)
            if user is None or (owner is not None and owner[1].id != user.id):
                return None  # of somebody's several keys, the next one may do
            return Invited()
        found = await self._credentials.offered(login, key, address)
        return None if found is None else await self._let_in(found, login.desktop, address)

    async def redeem(
        self, login: Login, key: OfferedKey, address: str
    ) -> Identity | CodeWanted | None:
        """Bind the key, whose owner signed, to the invite's user. None for an invite that is not
        open any more. Raises `Conflict` when the key is somebody else's.
        """
        user = None if login.invite is None else await self._invitee(login.invite, key)
        if user is None or login.invite is None:
            return None
        actor = Actor(f"user:{user.name}", f"key {key.fingerprint}", address)
        try:
            user = await self._store.redeem_invite(
                hashed(login.invite),
                fingerprint=key.fingerprint,
                public=key.public,
                name="invited",
                actor=actor,
            )
        except NotFound:  # somebody was quicker
            return None
        bound = Proof(user=user, credential=key.fingerprint, method="key")
        return await self._let_in(bound, login.desktop, address)

    async def _invitee(self, token: str, key: OfferedKey) -> User | None:
        """For whom the invite is, when the key could let them in."""
        found = await self._invites.of(token)
        if found is None or key.certificate is not None or not _sound(key):
            return None
        user = found[1]
        policy = (await self._policies.of(user.id)).policy
        if not policy.ways & {Way.KEY, Way.KEY_CODE}:
            return None
        return user if suits(key, policy, verify_required=False) else None

    # -------------------------------------------------------------------- passwords and codes

    async def check_password(
        self, login: Login, password: str, address: str
    ) -> Identity | CodeWanted | None:
        """As the gateway's. Raises `Blocked`, `CapacityExhausted` when too many wait, and
        `SourceUnavailable`.
        """
        account = _account(login.user or "")
        with ExitStack() as place:
            place.enter_context(self._passwords.place(network_of(address) or address))
            async with self._blocks.attempt(account, address) as attempt:
                user = await self._store.user(_possible(account))
                found = await self._proven_by(user, password)
                if found is None:
                    place.close()  # an outside source has places of its own, and may be slow
                    try:
                        found = await self._vouched_for(account, password, address)
                    except (SourceUnavailable, CapacityExhausted):
                        if user is not None and user.source == LOCAL:
                            attempt.wrong(exists=True)  # for no source can make it right
                        raise
                answer = None
                if found is not None:
                    answer = await self._let_in(found, login.desktop, address)
                if answer is None:
                    attempt.wrong(exists=user is not None)
                elif isinstance(answer, Identity):
                    attempt.right()
                return answer

    async def _proven_by(self, user: User | None, password: str) -> Proof | None:
        """One hash is computed, whoever it is."""
        stored = await self._store.password(_NOBODY if user is None else user.id)
        if user is None or not user.enabled or user.source != LOCAL:
            stored = None
        right = await self._passwords.check(password, None if stored is None else stored.hash)
        if user is None or stored is None or not right:
            return None
        return Proof(user=user, credential=f"{PASSWORD}{stored.id}", method="password")

    async def _vouched_for(self, account: str, password: str, address: str) -> Proof | None:
        user = await self._newcomers.admit(_possible(account), password, address=address)
        if user is None:
            return None
        return Proof(user=user, credential=outside(user.source), method="password")

    async def check_code(self, ticket: str, code: str, address: str) -> Identity | None:
        """As the gateway's. Raises `Blocked`."""
        shown = self._tickets.read(ticket, address=address)
        if shown is None:
            return None
        # Whoever came by a key has it: what strangers try on the account is nothing of theirs.
        apart = None if shown.method == "password" else shown.credential
        async with self._blocks.attempt(shown.account, address, apart=apart) as attempt:
            user = await self._credentials.holder(
                shown.account, shown.user_id, shown.credential, address
            )
            if user is None:
                return None
            method = f"{shown.method}{CODE}"
            actor = Actor(f"user:{user.name}", proof(shown.credential, method), address)
            if not await self._codes.take(user.id, code, actor=actor):
                attempt.wrong(exists=True)
                return None
            attempt.right()
            return Identity(
                user_id=user.id,
                user=user.name,
                desktop=shown.desktop,
                credential=shown.credential,
                method=method,
                address=address,
                allowed=await self._allowed(user, frozenset(map(Allowance, shown.denied))),
            )

    # ------------------------------------------------------------------------------ afterwards

    async def still(self, identity: Identity) -> User:
        """Whom the identity's credential proves still. Raises `AccessDenied`: the account or the
        credential can be gone since the connection was opened.
        """
        if identity.credential.startswith(BROWSER):
            user = await self._sign_ins.still(identity)
        else:
            user = await self._credentials.holder(
                identity.user, identity.user_id, identity.credential, identity.address
            )
        if user is None:
            raise AccessDenied(public=TAKEN_AWAY)
        return user

    def proven(self, identity: Identity) -> None:
        """A door let them in."""
        self._logins.note(identity)
        self._blocks.at_home(identity.user, identity.address)

    # ---------------------------------------------------------------------------------- policy

    async def _let_in(
        self, found: Proof, desktop: str | None, address: str
    ) -> Identity | CodeWanted | None:
        """What the policy makes of a first proof. A code that somebody has set up is always asked
        for behind their password.
        """
        user = found.user
        ways = (await self._policies.of(user.id)).policy.ways
        alone, with_code = WAYS[found.method]
        if not ways & {alone, with_code}:
            return None
        asked = alone not in ways or alone is Way.PASSWORD
        if asked and await self._codes.wanted(user.id):
            return CodeWanted(self._ticket(found, desktop, address))
        return Identity(
            user_id=user.id,
            user=user.name,
            desktop=desktop,
            credential=found.credential,
            method=found.method,
            address=address,
            allowed=await self._allowed(user, found.denied),
            enrol=alone not in ways,
        )

    def _ticket(self, found: Proof, desktop: str | None, address: str) -> str:
        return self._tickets.write(
            Shown(
                user_id=found.user.id,
                account=found.user.name,
                desktop=desktop,
                credential=found.credential,
                method=found.method,
                denied=tuple(sorted(found.denied)),
                address=address,
            )
        )

    async def _allowed(self, user: User, denied: frozenset[Allowance]) -> tuple[Allowance, ...]:
        allowed = (await self._policies.of(user.id)).policy.allowed - denied
        return tuple(a for a in Allowance if a in allowed)


def _sound(key: OfferedKey) -> bool:
    """Whether the state may keep it as that key's."""
    kind, _, text = key.public.partition(" ")
    try:
        read = read_key(base64.b64decode(text, validate=True))
    except ValueError:
        return False
    return (read.type, read.fingerprint) == (kind, key.fingerprint)


def _account(typed: str) -> str:
    """What was typed as a name, fit for records: cut, and without what cannot be printed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in typed[:_ACCOUNT])


def _possible(account: str) -> str:
    """The name, when somebody can have it."""
    try:
        return user_name(account)
    except BadRequest:
        return _NOBODY
