"""A directory that passwords are checked against by binding as the person.

The library is OpenLDAP's, which blocks: each question runs in one of a few threads, at the end of
a tunnel. Everything in it shares one deadline, and who leaves the tunnel ends what is under way.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ldap
from ldap.dn import escape_dn_chars, str2dn
from ldap.filter import escape_filter_chars

from broker.core.errors import ConfigError, SourceUnavailable
from broker.core.model import shown
from broker.core.outside import Found, Refused, can_be_password
from broker.sources.files import LONGEST, context, secret
from broker.sources.tunnel import NoWay, Way, opened

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from broker.config.sources import LdapSource
    from broker.core.interfaces import Clock

#: Questions under way at once.
_THREADS = 8

#: What a directory answers to a bind that is merely refused: a wrong password, an entry that is
#: not there or has none, an account that is locked.
_REFUSALS = (
    ldap.INVALID_CREDENTIALS,
    ldap.NO_SUCH_OBJECT,
    ldap.INVALID_DN_SYNTAX,
    ldap.INAPPROPRIATE_AUTH,
    ldap.CONSTRAINT_VIOLATION,
    ldap.UNWILLING_TO_PERFORM,
)

_Name = tuple[tuple[tuple[str, str], ...], ...]


class Directory:
    """One LDAP server."""

    def __init__(self, config: LdapSource, clock: Clock) -> None:
        """Raises `ConfigError`."""
        self.name, self.create = config.name, config.create
        self._config, self._clock = config, clock
        self._way = Way(
            url=config.url,
            tls=context(config.ca, config.name),
            starttls=config.starttls,
            patience=config.timeout,
        )
        self._search_password = (
            secret(config.search_password, config.name, "search_password")
            if config.search_password is not None
            else ""
        )
        self._groups = {self._group(theirs): ours for theirs, ours in config.groups.items()}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"ldap {config.name}")

    async def check(self, name: str, password: str, *, address: str) -> Found | Refused:
        del address  # a directory has no place for it
        # To a directory a bind without a password is one as nobody: it succeeds.
        if not can_be_password(password):
            return Refused(known=False)
        loop = asyncio.get_running_loop()
        until = self._clock.monotonic() + self._config.timeout
        try:
            async with asyncio.timeout(self._config.timeout), opened(self._way) as tunnel:
                return await loop.run_in_executor(
                    self._pool, self._ask, tunnel, until, name, password
                )
        except (OSError, NoWay) as error:  # of TLS and of time, too
            what = str(error) or "no answer in time"
            raise SourceUnavailable(f"{self.name}: {what[:LONGEST]}") from error

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------------ in a thread
    def _ask(
        self, tunnel: socket.socket, until: float, name: str, password: str
    ) -> Found | Refused:
        try:
            connection = _Connection(tunnel, lambda: until - self._clock.monotonic())
            try:
                return self._verdict(connection, name, password)
            finally:
                connection.close()
        except ldap.LDAPError as error:
            raise SourceUnavailable(f"{self.name}: {_told(error)}") from None

    def _verdict(self, connection: _Connection, name: str, password: str) -> Found | Refused:
        config, dn = self._config, None
        theirs: set[_Name] = set()
        if config.bind_dn is not None:
            dn = _filled(config.bind_dn, escape_dn_chars, name=name)
        else:
            self._become_searcher(connection)
            dn, named = self._find(connection, name)
            theirs |= named
        known = dn is not None and config.bind_dn is None
        # Nobody's name takes as many questions as somebody's.
        nobody = f"uid={escape_dn_chars(name)},{config.search_base}"
        try:
            connection.bind(dn or nobody, password)
        except _REFUSALS:
            return Refused(known=known)
        if dn is None:
            return Refused(known=False)
        theirs |= self._groups_of(connection, name, dn)
        ours = {group for one in theirs for group in self._groups.get(one, ())}
        return Found(source=self.name, name=name, groups=frozenset(ours))

    def _become_searcher(self, connection: _Connection) -> None:
        if self._config.search_dn is not None:
            connection.bind(self._config.search_dn, self._search_password)

    def _find(self, connection: _Connection, name: str) -> tuple[str | None, set[_Name]]:
        """The one entry that is this person, and the groups that it names itself."""
        config = self._config
        assert config.search_base is not None
        wanted = _filled(config.search_filter, escape_filter_chars, name=name)
        entries = connection.search(config.search_base, wanted, self._attributes, most=2)
        if len(entries) > 1:
            raise SourceUnavailable(f"{self.name}: several entries have the name {shown(name)}")
        if not entries:
            return None, set()
        dn, attributes = entries[0]
        return dn or None, self._named(attributes)

    def _groups_of(self, connection: _Connection, name: str, dn: str) -> set[_Name]:
        """What is read after the password was found right."""
        config = self._config
        theirs: set[_Name] = set()
        if not self._groups:
            return theirs
        if config.bind_dn is not None and config.group_attribute is not None:
            own = connection.search(dn, "(objectClass=*)", self._attributes, scope=ldap.SCOPE_BASE)
            for _, attributes in own:
                theirs |= self._named(attributes)
        if config.group_base is not None:
            self._become_searcher(connection)
            wanted = _filled(config.group_filter, escape_filter_chars, name=name, dn=dn)
            found = connection.search(config.group_base, wanted, ["1.1"])
            theirs |= set(_names(group for group, _ in found))
        return theirs

    @property
    def _attributes(self) -> list[str]:
        """`1.1` is the name of none."""
        return [self._config.group_attribute or "1.1"]

    def _named(self, attributes: dict[str, list[bytes]]) -> set[_Name]:
        wanted = (self._config.group_attribute or "").lower()
        values = [value for key in attributes if key.lower() == wanted for value in attributes[key]]
        return set(_names(value.decode("utf-8", "replace") for value in values))

    def _group(self, theirs: str) -> _Name:
        try:
            return _name(theirs)
        except ldap.DECODING_ERROR:
            raise ConfigError(
                public=f"login.sources: '{self.name}': groups: found {shown(theirs)}; allowed is the"
                " whole name of a group's entry: cn=staff,ou=groups,dc=example."
            ) from None


class _Connection:
    """One connection to a directory; each call takes at most what is `left` of the time."""

    def __init__(self, tunnel: socket.socket, left: Callable[[], float]) -> None:
        """The tunnel's end is the library's from here on, which closes it."""
        self._left = left
        descriptor = tunnel.detach()
        if descriptor < 0:
            raise ldap.TIMEOUT({"desc": "nobody waits any more"})
        # Of a local socket's kind: the address would be dialled again if it were the directory's.
        self._ldap = connection = ldap.initialize("ldapi://", fileno=descriptor)
        connection.protocol_version = ldap.VERSION3
        # To follow a referral is to send the password wherever the directory says.
        connection.set_option(ldap.OPT_REFERRALS, 0)
        connection.set_option(ldap.OPT_DEREF, ldap.DEREF_NEVER)

    def close(self) -> None:
        with suppress(ldap.LDAPError):
            self._ldap.unbind_ext_s()

    def bind(self, dn: str, password: str) -> None:
        assert dn
        assert password
        self._wait(self._ldap.simple_bind(dn, password))

    def search(
        self,
        base: str,
        wanted: str,
        attributes: Sequence[str],
        *,
        scope: int = ldap.SCOPE_SUBTREE,
        most: int = 0,
    ) -> list[tuple[str, dict[str, list[bytes]]]]:
        """Entries alone; where the directory says that it would look elsewhere is left out."""
        asked = self._ldap.search_ext(base, scope, wanted, list(attributes), sizelimit=most)
        return [(dn, found) for dn, found in self._wait(asked) if dn is not None]

    def _wait(self, message: int) -> list[Any]:
        left = self._left()
        if left <= 0:
            raise ldap.TIMEOUT({"desc": "no time is left"})
        _, data = self._ldap.result(message, all=1, timeout=left)
        return data or []


def _filled(template: str, escape: Callable[[str], str], **values: str) -> str:
    """In one pass, so that what is filled in is no template itself."""
    return re.sub(r"\{([a-z]+)\}", lambda found: escape(values[found[1]]), template)


def _name(dn: str) -> _Name:
    """For comparing: without what a directory does not tell apart."""
    return tuple(
        tuple(sorted((kind.lower(), value.casefold()) for kind, value, _ in part))
        for part in str2dn(dn)
    )


def _names(names: Iterable[str]) -> Iterator[_Name]:
    for dn in names:
        with suppress(ldap.DECODING_ERROR):
            yield _name(dn)


def _told(error: ldap.LDAPError) -> str:
    """What the library says, and what the directory does; neither knows the password."""
    about = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    parts = [str(about[key]) for key in ("desc", "info") if about.get(key)]
    return (": ".join(parts) or type(error).__name__)[:LONGEST]
