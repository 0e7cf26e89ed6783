"""What proves a user: keys, certificates, passwords; and whether what did so does still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.issued import Issued
from broker.core.model import LOCAL
from broker.core.policy import Way
from broker.core.sources import within
from broker.service.certificates import Verdict
from broker.service.identities import OIDC, PASSWORD, outside

if TYPE_CHECKING:
    from broker.core.gateway import Allowance, Login, OfferedKey
    from broker.core.interfaces import Clock, Store
    from broker.core.model import Key, User
    from broker.core.policy import Policy
    from broker.service.certificates import Certificates
    from broker.service.policies import Policies

#: The ways of a first proof alone, and with a code behind it.
WAYS = {
    "key": (Way.KEY, Way.KEY_CODE),
    "certificate": (Way.KEY, Way.KEY_CODE),
    "password": (Way.PASSWORD, Way.PASSWORD_CODE),
}

#: What the types of keys begin with that live in a device of their own.
DEVICE = "sk-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A user, and what proves them."""

    user: User
    credential: str
    method: str
    """`key`, `certificate` or `password`."""
    denied: frozenset[Allowance] = frozenset()
    """What the credential does without, whatever the policy allows."""


class Credentials:
    """Judges keys and certificates that are offered, and looks again at what let somebody in."""

    def __init__(
        self,
        *,
        store: Store,
        policies: Policies,
        certificates: Certificates,
        provider: str | None,
        clock: Clock,
    ) -> None:
        """`provider` is whose word counts for who somebody is, if anybody's does."""
        self._store = store
        self._policies = policies
        self._certificates = certificates
        self._provider = provider
        self._clock = clock

    async def offered(self, login: Login, key: OfferedKey, address: str) -> Proof | None:
        """Whom the key or certificate proves under that login, once its owner has signed."""
        if key.certificate is not None:
            return await self._certified(login, key, key.certificate, address)
        found = await self._store.key_owner(key.fingerprint)
        if found is None or login.user not in {None, found[1].name}:
            return None
        held, user = found
        if not await self._counts(held, address):
            return None
        if not suits(key, await self._policy(user), verify_required=held.verify_required):
            return None
        return Proof(user=user, credential=held.fingerprint, method="key")

    async def _certified(
        self, login: Login, key: OfferedKey, certificate: str, address: str
    ) -> Proof | None:
        """A login without a name is of the one principal who is a user."""
        trusted = await self._policies.authorities()
        names = self._certificates.names(certificate, authorities=tuple(trusted))
        if login.user is not None:
            names = tuple(name for name in names if name == login.user)
        users = [user for name in dict.fromkeys(names) if (user := await self._enabled(name))]
        if len(users) != 1:
            return None
        policy = await self._policy(users[0])
        verdict = await self._certificates.judge(
            certificate, user=users[0].name, address=address, authorities=policy.authorities
        )
        if not isinstance(verdict, Verdict):
            return None
        if not suits(key, policy, verify_required=verdict.verify_required):
            return None
        return Proof(
            user=users[0],
            credential=verdict.credential,
            method="certificate",
            denied=verdict.denied,
        )

    async def holder(self, name: str, user_id: str, credential: str, address: str) -> User | None:
        """The user whom the credential proves still; None when it, or the account, is gone."""
        issued = Issued.parse(credential)
        if issued is None and not credential.startswith((PASSWORD, OIDC)):
            found = await self._store.key_owner(credential)
            if found is None or found[1].id != user_id or not await self._counts(found[0], address):
                return None
            return found[1]
        user = await self._enabled(name)
        if user is None or user.id != user_id:
            return None
        if credential.startswith(OIDC):
            vouched = credential.removeprefix(OIDC) == self._provider
            return user if vouched and user.source in {LOCAL, self._provider} else None
        if issued is not None:
            authorities = (await self._policy(user)).authorities
            gone = await self._certificates.still(issued, authorities=authorities)
            return user if gone is None else None
        if user.source != LOCAL:
            return user if credential == outside(user.source) else None
        password = await self._store.password(user.id)
        return user if password and credential == f"{PASSWORD}{password.id}" else None

    async def _enabled(self, name: str) -> User | None:
        user = await self._store.user(name)
        return user if user is not None and user.enabled else None

    async def _policy(self, user: User) -> Policy:
        return (await self._policies.of(user.id)).policy

    async def _counts(self, key: Key, address: str) -> bool:
        """Whether it proves anybody now, from there."""
        if key.expires_at is not None and self._clock.now() >= key.expires_at:
            return False
        if not within(address, key.sources):
            return False
        return not await self._certificates.key_revoked(key.public)


def suits(key: OfferedKey, policy: Policy, *, verify_required: bool) -> bool:
    """Whether it is such a key, and was used in such a way, as is wanted. While nothing is signed
    yet nobody knows how it will be used.
    """
    if not key.algorithm.startswith(DEVICE):
        return not (policy.hardware_keys or verify_required)
    if key.user_present is False:
        return False
    return not (policy.hardware_keys or verify_required) or key.user_verified is not False
