"""deskctl image: make the image that desktops are made from, or take one that was made elsewhere. It is
work on this host's engine, and the broker need not run.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from broker.cli.ctl import verb
from broker.core.errors import ConfigError, EngineUnavailable, NotFound, StartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

    from broker.cli.ctl import Desk
    from broker.config import Config

#: Where the package lays what the image is built from; beside the code in a clone.
_INSTALLED = Path("/usr/share/desk/docker")
_CLONED = Path(__file__).resolve().parents[2] / "docker"

#: Seconds for one answer of the engine, which unpacks an image before it gives one.
_PATIENCE = 1800

_CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/desk/desk.yaml"),
    show_default=True,
    envvar="DESK_CONFIG",
    help="The configuration file, which names the image and the engine.",
)


@click.group()
def image() -> None:
    """The image that desktops are made from."""


@verb(image, "build")
@click.option(
    "--flavour",
    type=click.Choice(["xfce", "xfce-cjk", "xfce-sound", "xfce-cjk-sound"]),
    default="xfce",
    show_default=True,
    help="With -cjk it has Chinese, Japanese and Korean fonts, with -sound it is heard in a browser.",
)
@_CONFIG
def build(desk: Desk, path: Path, flavour: str) -> None:
    """Build it from what Desk brings along, in some minutes, and give it the name that
    template.image says. What is built already is not built again.
    """
    config = _config(path)
    sources = _INSTALLED if _INSTALLED.is_dir() else _CLONED
    if shutil.which("docker") is None:
        raise EngineUnavailable(
            public="The program docker is missing, which builds images: install it (docker-cli from"
            " Debian 13 on, docker.io before), then run this again."
        )
    done = subprocess.run(
        [str(sources / "build.sh"), "--flavour", flavour],
        env={**os.environ, "DOCKER_HOST": config.engine.socket},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StartFailed(public="The image was not built; the reasons stand above.")
    with _engine(config) as engine:
        _name(desk, engine.images.get(done.stdout.strip()), config)


@verb(image, "load")
@click.argument("file", type=click.File("rb"))
@_CONFIG
def take(desk: Desk, path: Path, file: BinaryIO) -> None:
    """Take the image from FILE, as `docker save` writes it, compressed or not, and give it the name
    that template.image says. `-` is the standard input.
    """
    config = _config(path)
    with _engine(config) as engine:
        found = engine.images.load(file)
        if len(found) != 1:
            raise ConfigError(
                public=f"{file.name}: has {len(found)} images, and one is wanted: save it alone,"
                " 'docker save NAME'."
            )
        _name(desk, found[0], config)


def _config(path: Path) -> Config:
    from broker.config import load

    return load(path)


def _name(desk: Desk, made: Any, config: Config) -> None:
    wanted = config.template.image
    name, _, tag = wanted.rpartition(":") if ":" in wanted.rpartition("/")[2] else (wanted, "", "")
    if "@" in wanted or not made.tag(name, tag or "latest"):
        raise ConfigError(
            public=f"template.image: {wanted} is no name that can be given to an image; write one"
            " like desk-desktop:latest there, or pull that image yourself."
        )
    desk.out.done(
        {"image": wanted, "id": made.id},
        f"{wanted} is there: desktops are made from it at their next start.",
        ident=wanted,
    )


@contextmanager
def _engine(config: Config) -> Iterator[DockerClient]:
    import docker
    from docker.errors import DockerException, ImageNotFound

    address = config.engine.socket
    try:
        # First in the kernel's own words: the library buries them, and leaves its socket open.
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.connect(address.removeprefix("unix://"))
        with closing(docker.DockerClient(base_url=address, timeout=_PATIENCE)) as client:
            yield client
    except ImageNotFound as error:
        raise NotFound(public=f"The engine at {address} lost the image meanwhile.") from error
    except (OSError, DockerException) as error:
        raise EngineUnavailable(
            public=f"The container engine at {address} does not answer, or refused: {error}. Root"
            " and the group docker may use it."
        ) from error
