"""The whole file as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from broker.config.desktops import (
    EngineConfig,
    IdleConfig,
    LimitsConfig,
    NetworkConfig,
    PoolsConfig,
    StartsConfig,
    TemplateConfig,
)
from broker.config.kinds import Listen, Model
from broker.config.ssh import SshConfig


class HttpConfig(Model):
    """The HTTP port."""

    listen: Listen = Listen(host="127.0.0.1", port=8080)

    @field_validator("listen")
    @classmethod
    def _plain_on_loopback_alone(cls, listen: Listen) -> Listen:
        if not listen.loopback:
            raise ValueError(
                "allowed is a loopback address, 127.0.0.1 or ::1: this port speaks plain HTTP"
            )
        return listen


class Config(Model):
    """The whole file."""

    state: Path = Path("/var/lib/desk")
    ssh: SshConfig = SshConfig()
    http: HttpConfig = HttpConfig()
    engine: EngineConfig = EngineConfig()
    network: NetworkConfig = NetworkConfig()
    pools: PoolsConfig = PoolsConfig()
    starts: StartsConfig = StartsConfig()
    limits: LimitsConfig = LimitsConfig()
    idle: IdleConfig = IdleConfig()
    template: TemplateConfig
    log: Annotated[str, Field(pattern=r"^(auto|json|console)$")] = "auto"

    @field_validator("state")
    @classmethod
    def _absolute(cls, state: Path) -> Path:
        if not state.is_absolute() or ".." in state.parts:
            raise ValueError("allowed is an absolute path without '..': /var/lib/desk")
        return state

    @property
    def database(self) -> Path:
        return self.state / "desk.db"

    @property
    def admin_socket(self) -> Path:
        return self.state / "admin.sock"
