"""How people prove who they are, and what their connections may do."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotation
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

from broker.config.kinds import Model, Network, Seconds, bounded, out_of_order
from broker.config.sources import SourceConfigs  # noqa: TC001 - pydantic reads the annotation
from broker.core import policy
from broker.core.blocks import Rule
from broker.core.gateway import Allowance
from broker.core.policy import Way
from broker.core.shares import Looks

_Delay = Annotated[Seconds, bounded(1, 86_400, "1s to 1d")]


class CodesConfig(Model):
    """One-time codes."""

    issuer: str = "Desk"
    """What people's authenticators show beside their name."""

    @field_validator("issuer")
    @classmethod
    def _label(cls, issuer: str) -> str:
        if not 1 <= len(issuer) <= 64 or not issuer.isprintable() or ":" in issuer:
            raise ValueError("allowed are 1 to 64 characters that can be printed, without a colon")
        return issuer


class BlocksConfig(Model):
    """How long an account waits after wrong passwords and codes."""

    after: Annotated[int, Field(ge=1, le=100)] = 5
    first: _Delay = 30.0
    longest: _Delay = 900.0
    exempt: Annotated[tuple[Network, ...], Field(max_length=1000)] = ("127.0.0.0/8", "::1/128")

    @model_validator(mode="after")
    def _first_within_longest(self) -> BlocksConfig:
        if self.first <= self.longest:
            return self
        raise out_of_order(self, "first", "longest")

    @property
    def rule(self) -> Rule:
        return Rule(after=self.after, first=self.first, longest=self.longest)


class InvitesConfig(Model):
    """Tokens that bind a key."""

    valid: Annotated[Seconds, bounded(60, 365 * 86_400, "1m to 365d")] = 3 * 86_400.0


class LoginConfig(Model):
    """Who is let in."""

    ways: Annotated[
        frozenset[Way], BeforeValidator(policy.ways, json_schema_input_type=list[Way])
    ] = frozenset({Way.KEY, Way.PASSWORD, Way.PASSWORD_CODE})
    hardware_keys: bool = False
    authorities: Annotated[tuple[str, ...], BeforeValidator(policy.authorities)] = ()
    revoked: Path | None = None
    codes: CodesConfig = CodesConfig()
    blocks: BlocksConfig = BlocksConfig()
    invites: InvitesConfig = InvitesConfig()
    sources: SourceConfigs = ()

    @field_validator("revoked")
    @classmethod
    def _absolute(cls, revoked: Path | None) -> Path | None:
        if revoked is not None and not revoked.is_absolute():
            raise ValueError("allowed is an absolute path: /etc/desk/revoked_keys")
        return revoked


class AllowConfig(Model):
    """What connections may do beyond commands and the viewers."""

    forward_local: bool = True
    forward_remote: bool = True
    agent: bool = True
    x11: bool = True
    sftp: bool = True
    pty: bool = True
    browser: bool = True
    clipboard_in: bool = True
    clipboard_out: bool = True
    share: bool = True

    @property
    def allowances(self) -> frozenset[Allowance]:
        return frozenset(a for a in Allowance if getattr(self, a))


class ShareConfig(Model):
    """Looking at the desktops of others."""

    admins: Looks = Looks.ASK
