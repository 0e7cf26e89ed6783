"""One YAML file to frozen, typed models; every mistake in it becomes one sentence for people.

`docs/config.md` explains each key; a test keeps the two in step.
"""

from broker.config.desktops import EngineConfig, IdleConfig, NetworkConfig, PoolsConfig
from broker.config.kinds import Listen
from broker.config.reading import load, parse, read
from broker.config.ssh import SshConfig
from broker.config.web import WebConfig
from broker.config.whole import Config

__all__ = [
    "Config",
    "EngineConfig",
    "IdleConfig",
    "Listen",
    "NetworkConfig",
    "PoolsConfig",
    "SshConfig",
    "WebConfig",
    "load",
    "parse",
    "read",
]
