"""deskctl image: on an engine in this process, and on none."""

from __future__ import annotations

import io
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from broker.cli import ctl_image
from broker.cli.deskctl import main


class Image:
    def __init__(self) -> None:
        self.id = "sha256:abc"
        self.names = []

    def tag(self, name, tag):
        self.names.append(f"{name}:{tag}")
        return True


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "desk.yaml"

    def write(image="desk-desktop:latest"):
        file.write_text(
            f"template: {{image: '{image}'}}\nengine: {{socket: 'unix://{tmp_path}/engine.sock'}}\n"
        )
        return file

    write()
    return SimpleNamespace(file=file, write=write)


@pytest.fixture
def engine(monkeypatch):
    made = SimpleNamespace(image=Image(), read=b"", count=1)

    def load(file):
        made.read = file.read()
        return [made.image] * made.count

    made.images = SimpleNamespace(load=load, get=lambda _: made.image)

    @contextmanager
    def there(_config):
        yield made

    monkeypatch.setattr(ctl_image, "_engine", there)
    return made


def run(*words, code=0, given=None):
    done = CliRunner().invoke(main, [str(word) for word in words], input=given)
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("desk-desktop:latest", "desk-desktop:latest"),
        ("desktop", "desktop:latest"),
        ("registry.example:5000/desk/desktop", "registry.example:5000/desk/desktop:latest"),
        ("registry.example:5000/desktop:12", "registry.example:5000/desktop:12"),
    ],
)
def test_a_file_becomes_the_image_of_the_template(config, engine, tmp_path, name, given):
    """Under the name that the configuration has, and with the bytes that were given."""
    (tmp_path / "desktop.tar").write_bytes(b"layers")
    said = run("image", "load", tmp_path / "desktop.tar", "--config", config.write(name))
    assert said == f"{name} is there: desktops are made from it at their next start.\n"
    assert (engine.image.names, engine.read) == ([given], b"layers")


def test_the_image_comes_by_a_pipe_as_well(config, engine):
    run("image", "load", "-", "--config", config.file, given=io.BytesIO(b"layers"))
    assert engine.read == b"layers"


def test_a_file_of_two_images_is_refused(config, engine, tmp_path):
    """Which of them would it be?"""
    engine.count = 2
    (tmp_path / "two.tar").write_bytes(b"")
    said = run("image", "load", tmp_path / "two.tar", "--config", config.file, code=78)
    assert "has 2 images, and one is wanted" in said
    assert engine.image.names == []


def test_a_name_that_stands_for_bytes_is_given_to_nothing(config, engine, tmp_path):
    (tmp_path / "desktop.tar").write_bytes(b"")
    path = config.write("desk@sha256:" + 64 * "0")
    said = run("image", "load", tmp_path / "desktop.tar", "--config", path, code=78)
    assert said.startswith("template.image: desk@sha256:")
    assert engine.image.names == []


def test_an_engine_that_is_away_is_told(config, tmp_path):
    (tmp_path / "desktop.tar").write_bytes(b"")
    said = run("image", "load", tmp_path / "desktop.tar", "--config", config.file, code=1)
    assert said.startswith(f"The container engine at unix://{tmp_path}/engine.sock does not answer")


BUILDER = """#!/bin/sh
echo "$DOCKER_HOST $*" >"$(dirname "$0")/asked"
echo desk-desktop:0123456789ab
exit {status}
"""


@pytest.fixture
def builder(monkeypatch, tmp_path):
    def lay(status=0):
        script = tmp_path / "build.sh"
        script.write_text(BUILDER.format(status=status))
        script.chmod(0o755)
        return tmp_path / "asked"

    monkeypatch.setattr(ctl_image, "_INSTALLED", tmp_path)
    monkeypatch.setattr(ctl_image.shutil, "which", lambda _: "/usr/bin/docker")
    return lay


def test_what_was_built_gets_the_name_too(config, engine, builder, tmp_path):
    asked = builder()
    run("image", "build", "--flavour", "xfce-cjk", "--config", config.file)
    assert asked.read_text() == f"unix://{tmp_path}/engine.sock --flavour xfce-cjk\n"
    assert engine.image.names == ["desk-desktop:latest"]


def test_a_build_that_failed_names_nothing(config, engine, builder):
    builder(status=1)
    said = run("image", "build", "--config", config.file, code=1)
    assert said == "The image was not built; the reasons stand above. (start_failed)\n"
    assert engine.image.names == []


def test_without_the_program_that_builds_it_is_named(config, engine, builder, monkeypatch):
    builder()
    monkeypatch.setattr(ctl_image.shutil, "which", lambda _: None)
    said = run("image", "build", "--config", config.file, code=1)
    assert said.startswith("The program docker is missing")
