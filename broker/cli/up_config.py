"""The configuration that `make up` writes once, and afterwards changes in single values.

A change touches the value's own characters: comments, order and all that an admin wrote stay.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import yaml

from broker.config import Listen, parse
from broker.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from broker.cli.up_memory import Memory
    from broker.cli.up_place import Place
    from broker.config import Config

DEFAULT_SSH_PORT, DEFAULT_HTTP_PORT = 2222, 8080

_FIRST = """\
# Desk's configuration. `make up` wrote it and keeps what you change here; docs/config.md explains
# every key, and `deskd check-config --config FILE` checks a change.

state: {state}

ssh:
  listen: 0.0.0.0:{ssh_port}

web:
  listen: 127.0.0.1:{http_port}

engine:
  socket: {engine}

# The image that docker/build.sh built. Another value than the one written here stays as it is.
template:
  image: {image}
"""

_PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9._/:@-]*[A-Za-z0-9]")


def scalar(value: str) -> str:
    """`value` as YAML: bare where that is safe, else quoted."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def text_of(place: Place) -> str | None:
    """The instance's file; None when there is none yet. Raises `ConfigError`."""
    try:
        return place.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(public=f"{place.config}: cannot be read: {error}.") from error


def first(place: Place, *, engine: str, image: str) -> str:
    """The file of a new instance."""
    return _FIRST.format(
        state=scalar(str(place.state)),
        ssh_port=place.ssh_port or DEFAULT_SSH_PORT,
        http_port=place.http_port or DEFAULT_HTTP_PORT,
        engine=scalar(engine),
        image=scalar(image),
    )


def checked(text: str, place: Place) -> Config:
    """The text as the broker will read it. Raises `ConfigError`."""
    config = parse(text, str(place.config))
    if config.state != place.state:
        raise ConfigError(
            public=f"{place.config}: state: found {config.state}; allowed is {place.state},"
            " where this file lies. To use the other one: make up STATE=" + str(config.state)
        )
    if config.ssh.listen.port == config.web.listen.port:
        raise ConfigError(
            public=f"{place.config}: ssh.listen and web.listen both name port"
            f" {config.ssh.listen.port}; set SSH_PORT or HTTP_PORT to another."
        )
    return config


def with_ports(text: str, place: Place) -> tuple[str, list[str]]:
    """The text with the ports that were asked for, and a sentence for each that changed."""
    config, told = checked(text, place), []
    for section, listen, port in (
        ("ssh", config.ssh.listen, place.ssh_port),
        ("web", config.web.listen, place.http_port),
    ):
        if port is not None and port != listen.port:
            wanted = Listen(host=listen.host, port=port)
            text = change(text, (section, "listen"), str(wanted))
            told.append(f"{section}.listen: {listen} -> {wanted}, as asked for.")
    return text, told


def with_engine(
    text: str, engine: str, memory: Memory, *, has_desktops: bool
) -> tuple[str, list[str]]:
    """The text with the engine that answers. Raises `ConfigError` when the file names another one
    that `make up` did not write, or on which this instance may have homes already.
    """
    found = parse(text, "").engine.socket
    if found == engine:
        return text, []
    if found != memory.engine or has_desktops:
        kept = " This instance's desktops and homes are on the first." if has_desktops else ""
        raise ConfigError(
            public=f"engine.socket names {found}, where no engine answers; {engine} does.{kept}"
            " Start the one or name the other, then run make up again."
        )
    return change(text, ("engine", "socket"), engine), [f"engine.socket: {found} -> {engine}."]


def with_image(text: str, image: str, memory: Memory) -> tuple[str, list[str]]:
    """The text with the newly built image, unless an admin has put another one there."""
    found = parse(text, "").template.image
    if found == image or found != memory.image:
        return text, []
    told = (
        f"template.image: {found} -> {image}. What runs goes on; the next start takes the new one."
    )
    return change(text, ("template", "image"), image), [told]


def change(text: str, path: tuple[str, str], value: str) -> str:
    """The text with one key of one section set."""
    section, key = path
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = _child(root, section)
    if not isinstance(node, yaml.MappingNode):
        return f"{text.rstrip()}\n\n{section}:\n  {key}: {scalar(value)}\n"
    if not node.value:
        start, end = node.start_mark.index, node.end_mark.index
        return f"{text[:start]}{{{key}: {scalar(value)}}}{text[end:]}"
    found = _child(node, key)
    if found is not None:
        start, end = found.start_mark.index, found.end_mark.index
        # A block mapping's end is the next key's line: one line break is its own.
        tail = "\n" if text[start:end].endswith("\n") else ""
        return text[:start] + scalar(value) + tail + text[end:]
    start = node.value[0][0].start_mark
    gap = ", " if node.flow_style else "\n" + " " * start.column
    return f"{text[: start.index]}{key}: {scalar(value)}{gap}{text[start.index :]}"


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value  # type: ignore[no-any-return]
    return None


def save(path: Path, text: str) -> None:
    """Replace the file whole, keeping it private."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(path)
