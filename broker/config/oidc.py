"""A provider of OpenID Connect, whose word counts for signing in with a browser."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from broker.config.kinds import Model, is_loopback
from broker.config.sources import (  # noqa: TC001 - pydantic reads the annotations
    AbsoluteFile,
    GroupNames,
    SourceName,
)

_CLAIM = re.compile(r"[A-Za-z0-9_:./-]{1,128}", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}", re.ASCII)


def _claim(name: str) -> str:
    if not _CLAIM.fullmatch(name):
        raise ValueError("allowed is the name of a claim: preferred_username")
    return name


def _scope(word: str) -> str:
    if not _SCOPE.fullmatch(word):
        raise ValueError("allowed are scopes, a word each: [openid, profile, groups]")
    return word


_Claim = Annotated[str, AfterValidator(_claim)]


class OidcConfig(Model):
    """A provider, and what Desk is to it."""

    name: SourceName
    """What accounts that come from it bear, and the button says."""
    issuer: str
    client_id: Annotated[str, Field(min_length=1, max_length=256)]
    client_secret: AbsoluteFile
    """A file."""
    scopes: Annotated[tuple[Annotated[str, AfterValidator(_scope)], ...], Field(max_length=32)] = (
        "openid",
        "profile",
    )
    user_claim: _Claim = "preferred_username"
    """What the provider calls somebody who is that user here."""
    groups_claim: _Claim | None = None
    groups: dict[str, GroupNames] = Field(default_factory=dict)
    """The provider's own names of groups to Desk's; what is not here counts for nothing."""
    create: bool = True
    adopt: bool = False
    """Whether whoever bears the name of one of Desk's own users there is that user here."""

    @field_validator("issuer")
    @classmethod
    def _address(cls, issuer: str) -> str:
        rule = "allowed is the provider's https://HOST[:PORT][/PATH]; http:// on loopback alone"
        if not issuer.isascii() or not issuer.isprintable() or " " in issuer:
            raise ValueError(rule)
        try:
            parts = urlsplit(issuer)
            _ = parts.port
        except ValueError:
            raise ValueError(rule) from None
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise ValueError(rule)
        plain = parts.scheme == "http" and is_loopback(parts.hostname)
        if parts.scheme != "https" and not plain:
            raise ValueError(rule)
        return issuer

    @field_validator("scopes")
    @classmethod
    def _openid(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("allowed are scopes with 'openid' among them")
        return scopes
