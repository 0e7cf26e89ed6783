"""Outside sources of passwords, as the file lists them in `login.sources`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationError,
    field_validator,
    model_validator,
)

from broker.config.kinds import Model, Seconds, at, bounded, is_loopback
from broker.core.errors import BadRequest
from broker.core.model import LOCAL, group_name

_NAME_RULE = "allowed is a name of 1 to 31 characters a-z, 0-9, '_' and '-' that begins with a letter, and not 'local'"


def _source_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name) or name == LOCAL:
        raise ValueError(_NAME_RULE)
    return name


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("allowed is an absolute path")
    return path


def _group_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _group_name(name: str) -> str:
    try:
        return group_name(name)
    except BadRequest as error:
        raise ValueError(error.public.rstrip(".")) from None


SourceName = Annotated[str, AfterValidator(_source_name)]
AbsoluteFile = Annotated[Path, AfterValidator(_absolute)]
GroupNames = Annotated[
    tuple[Annotated[str, AfterValidator(_group_name)], ...],
    BeforeValidator(_group_names, json_schema_input_type=str | list[str]),
]


class _Source(Model):
    """What every kind of source has."""

    name: SourceName
    create: bool = True
    groups: dict[str, GroupNames] = Field(default_factory=dict)
    """The source's own names of groups to Desk's; what is not here counts for nothing."""
    ca: AbsoluteFile | None = None
    timeout: Annotated[Seconds, bounded(0.1, 60, "0.1s to 1m")] = 5.0


class LdapSource(_Source):
    """A directory. Who somebody is: `bind_dn` names everybody's entry, or else a search finds it."""

    kind: Literal["ldap"]
    url: str
    starttls: bool = False
    plain: bool = False
    """Lets passwords pass a network in clear."""
    bind_dn: str | None = None
    search_base: str | None = None
    search_filter: str = "(uid={name})"
    search_dn: str | None = None
    """Who searches; none: anybody may."""
    search_password: AbsoluteFile | None = None
    group_attribute: str | None = "memberOf"
    """Of a person's entry: the names of the groups that they are in."""
    group_base: str | None = None
    """Where groups are searched, besides."""
    group_filter: str = "(member={dn})"

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = _split(url)
        if parts is not None and parts.scheme == "ldapi" and unquote(parts.netloc).startswith("/"):
            return url
        if parts is None or parts.scheme not in {"ldap", "ldaps"} or not parts.hostname:
            raise ValueError(
                "allowed is a directory's address: ldaps://HOST[:PORT], ldap://HOST[:PORT],"
                " or a local socket: ldapi://%2Frun%2Fslapd%2Fldapi"
            )
        if parts.path.strip("/") or parts.query or parts.username is not None:
            raise ValueError("allowed is an address alone, without what follows the port")
        return url

    @field_validator("bind_dn")
    @classmethod
    def _names_somebody(cls, template: str | None) -> str | None:
        if template is not None and _placeholders(template) != {"name"}:
            raise ValueError("allowed is a name with {name} in it: uid={name},ou=people,dc=example")
        return template

    @field_validator("search_filter")
    @classmethod
    def _finds_somebody(cls, template: str) -> str:
        if _placeholders(template) != {"name"} or not _in_parentheses(template):
            raise ValueError("allowed is a filter with {name} in it: (uid={name})")
        return template

    @field_validator("group_filter")
    @classmethod
    def _finds_groups(cls, template: str) -> str:
        known = _placeholders(template)
        if not known or not known <= {"name", "dn"} or not _in_parentheses(template):
            raise ValueError(
                "allowed is a filter with {dn} or {name} in it: (member={dn}), (memberUid={name})"
            )
        return template

    @model_validator(mode="after")
    def _whole(self) -> LdapSource:
        if (self.bind_dn is None) == (self.search_base is None):
            raise at(self, "bind_dn", "allowed is one of bind_dn and search_base")
        if (self.search_dn is None) != (self.search_password is None):
            raise at(self, "search_dn", "allowed are search_dn and search_password together")
        if self.bind_dn is not None and self.search_dn is not None:
            raise at(self, "search_dn", "allowed with search_base alone: bind_dn wants no search")
        if self.starttls and not self.url.startswith("ldap:"):
            raise at(self, "starttls", "allowed with ldap:// alone")
        parts = urlsplit(self.url)
        clear = parts.scheme == "ldap" and not self.starttls
        if clear and not self.plain and not is_loopback(parts.hostname or ""):
            raise at(
                self,
                "url",
                "allowed is ldaps://, or ldap:// with 'starttls: true': passwords would pass the"
                " network in clear ('plain: true' allows that)",
            )
        return self


class WebhookSource(_Source):
    """A web service that is asked by POST."""

    kind: Literal["webhook"]
    url: str
    secret: AbsoluteFile
    """A file with the token that the service knows Desk by."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = _split(url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("allowed is the address of a web service: https://HOST[:PORT]/PATH")
        if parts.username is not None or parts.fragment:
            raise ValueError("allowed is an address without a user name and without a fragment")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("allowed is https://, and http:// to loopback alone")
        return url


SourceConfig = LdapSource | WebhookSource

_KINDS: dict[str, type[LdapSource | WebhookSource]] = {"ldap": LdapSource, "webhook": WebhookSource}


def _source(value: object) -> object:
    """By its kind: mistakes are then told of the kind's own keys."""
    kind = value.get("kind") if isinstance(value, dict) else None
    model = _KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        kinds = ", ".join(_KINDS)
        raise ValueError(f"allowed is an entry whose 'kind' is one of {kinds}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _told(error, model) from None


def _told(error: ValidationError, model: type[Model]) -> ValidationError:
    """The same, and an unknown key is told with those that this kind has."""
    rule = ValueError(f"this key is unknown; allowed are {', '.join(sorted(model.model_fields))}")
    details: list[Any] = [
        {**detail, "type": "value_error", "ctx": {"error": rule}}
        if detail["type"] == "extra_forbidden"
        else detail
        for detail in error.errors()
    ]
    return ValidationError.from_exception_data(model.__name__, details)


def _distinct(sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError("allowed are sources of different names")
    return sources


SourceConfigs = Annotated[
    tuple[
        Annotated[InstanceOf[LdapSource] | InstanceOf[WebhookSource], BeforeValidator(_source)], ...
    ],
    AfterValidator(_distinct),
]
"""The list of `login.sources`."""


def _split(url: str) -> SplitResult | None:
    """None when it is none, or has characters that none may have."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _placeholders(template: str) -> set[str]:
    return set(re.findall(r"\{([^{}]*)\}", template))


def _in_parentheses(template: str) -> bool:
    return template.startswith("(") and template.endswith(")")
