"""The whole file as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from broker.config.database import postgres
from broker.config.desktops import (
    EngineConfig,
    IdleConfig,
    LimitsConfig,
    NetworkConfig,
    PoolsConfig,
    StartsConfig,
    TemplateConfig,
)
from broker.config.kinds import Model, at
from broker.config.login import AllowConfig, LoginConfig, ShareConfig
from broker.config.oidc import OidcConfig  # noqa: TC001 - pydantic reads the annotation
from broker.config.ssh import SshConfig
from broker.config.web import WebConfig
from broker.core.policy import Policy


class AuditConfig(Model):
    """The record of every change."""

    syslog: bool = False
    """Whether the system's log is told the newest entry."""


class Config(Model):
    """The whole file."""

    state: Path = Path("/var/lib/desk")
    database: str | None = None
    """A PostgreSQL database for the state; none given: SQLite's file `desk.db` there."""
    database_password: Path | None = None
    """A file with the password for it."""
    ssh: SshConfig = SshConfig()
    login: LoginConfig = LoginConfig()
    allow: AllowConfig = AllowConfig()
    share: ShareConfig = ShareConfig()
    audit: AuditConfig = AuditConfig()
    web: WebConfig = WebConfig()
    oidc: OidcConfig | None = None
    """A provider of OpenID Connect by which people may sign in with a browser."""
    engine: EngineConfig = EngineConfig()
    network: NetworkConfig = NetworkConfig()
    pools: PoolsConfig = PoolsConfig()
    starts: StartsConfig = StartsConfig()
    limits: LimitsConfig = LimitsConfig()
    idle: IdleConfig = IdleConfig()
    template: TemplateConfig
    log: Annotated[str, Field(pattern=r"^(auto|json|console)$")] = "auto"
    log_level: Annotated[str, Field(pattern=r"^(debug|info|warning|error)$")] = "info"

    @field_validator("state")
    @classmethod
    def _absolute(cls, state: Path) -> Path:
        if not state.is_absolute() or ".." in state.parts:
            raise ValueError("allowed is an absolute path without '..': /var/lib/desk")
        return state

    @field_validator("database")
    @classmethod
    def _reachable(cls, database: str | None) -> str | None:
        return None if database is None else postgres(database)

    @model_validator(mode="after")
    def _password_of_a_database(self) -> Config:
        password = self.database_password
        if password is not None and (self.database is None or not password.is_absolute()):
            raise at(self, "database_password", "allowed is an absolute path, beside 'database'")
        return self

    @model_validator(mode="after")
    def _provider_knows_the_way_back(self) -> Config:
        if self.oidc is None:
            return self
        if self.oidc.name in {source.name for source in self.login.sources}:
            raise at(self, "oidc", "allowed is a name that no entry of 'login.sources' has")
        if self.web.url is None:
            raise at(self, "oidc", "allowed beside 'web.url', to which the provider sends people")
        return self

    @property
    def admin_socket(self) -> Path:
        return self.state / "admin.sock"

    @property
    def policy(self) -> Policy:
        """What holds for whoever no group says anything of."""
        return Policy(
            ways=self.login.ways,
            hardware_keys=self.login.hardware_keys,
            authorities=self.login.authorities,
            idle=self.idle.policy,
            desktops=self.limits.desktops_per_user,
            running=self.limits.running_per_user,
            allowed=self.allow.allowances,
            looks=self.share.admins,
        )
