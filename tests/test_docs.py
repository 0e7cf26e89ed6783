"""The documentation tells of everything that is there, and leads to nothing that is not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from broker import telemetry
from broker.cli import deskctl, deskd
from broker.config import Config, Listen, parse
from broker.core import errors
from broker.core.idle import Signal
from broker.door.limits import Limits
from broker.http import problems
from broker.service.vocabulary import INSIDE, WORDS
from tests.service.conftest import broker, directory, world  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def text_of(name):
    return (DOCS / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------- configuration


def keys_of(model, prefix=""):
    """Every key of the file, as it is written in sentences: `ssh.listen`."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Listen:
            yield from keys_of(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


KEYS = list(keys_of(Config))
ROWS = {
    match[1]: match[2].strip()
    for match in re.finditer(
        r"^\| `([a-z0-9_.]+)` \| ([^|]+) \|", text_of("config.md").split("\n## ")[0], re.MULTILINE
    )
}


def test_the_page_of_keys_has_every_key_and_no_other():
    assert sorted(ROWS) == sorted(KEYS)


def value_of(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("key", KEYS)
def test_the_default_that_the_page_tells_is_the_default(key):
    told = ROWS[key]
    if told == "required":
        assert key == "template.image"
        return
    plain = parse("template: {image: a}", "x")
    if told == "none":
        assert value_of(plain, key) is None
        return
    data = {"template": {"image": "a"}}
    *sections, last = key.split(".")
    inner = data
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = yaml.safe_load(told.strip("`"))
    assert value_of(parse(yaml.safe_dump(data), "x"), key) == value_of(plain, key)


def test_the_example_can_be_used():
    parse((ROOT / "config/desk.yaml").read_text(encoding="utf-8"), "desk.yaml")


def test_the_examples_of_sleep_can_be_used():
    examples = re.findall(r"^```\n(idle:.*?)^```", text_of("config.md"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        parse("template: {image: a}\n" + example, "config.md")


def test_the_page_of_keys_has_every_sign_of_life_and_no_other():
    """As `desk why --json` names them; a session's age is none."""
    table = text_of("config.md").split("| sign |")[1].split("\n\n")[0]
    told = re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)
    assert sorted(told) == sorted(set(Signal) - {Signal.AGE})


def test_the_page_of_keys_tells_how_much_data_is_a_sign_of_life():
    told = re.findall(r"more than (\d+) KiB in a minute", text_of("config.md"))
    assert {int(number) << 10 for number in told} == {Limits().activity_bytes}


# ------------------------------------------------------------------------------------- errors


def codes_of(kind):
    yield kind.code
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from codes_of(child)


def test_the_page_of_codes_has_every_code_and_no_other():
    told = re.findall(r"^### ([a-z_]+)$", text_of("errors.md"), re.MULTILINE)
    assert sorted(told) == sorted(set(codes_of(errors.DeskError)))


def test_the_page_of_codes_tells_the_status_of_each():
    """Of those that the API has one for; all others are 500, as what nobody foresaw."""
    sections = text_of("errors.md").split("\n### ")[1:]
    told = {
        section.split("\n")[0]: int(found[1])
        for section in sections
        if (found := re.search(r"\(API: (\d+)", section))
    }
    wanted = {kind.code: status for kind, status in problems.STATUS.items()}
    assert told == {**wanted, errors.DeskError.code: 500}


# ----------------------------------------------------------------------------------- commands


def commands_of(command, path):
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands_of(child, f"{path} {name}")
    else:
        if not command.hidden:  # those of `deskd serve` to its children
            yield path, command


COMMANDS = [*commands_of(deskd.main, "deskd"), *commands_of(deskctl.main, "deskctl")]


def test_the_page_of_commands_has_every_command_and_no_other():
    told = re.findall(r"^\| `(desk(?:ctl|d) [a-z -]+[a-z])", text_of("commands.md"), re.MULTILINE)
    assert sorted(told) == sorted(path for path, _ in COMMANDS)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_the_page_of_commands_has_every_option(path, command):
    tool = path.split()[0]
    row = re.search(rf"^\| `{path}\b.*$", text_of("commands.md"), re.MULTILINE)[0]
    shared = text_of("commands.md") if tool == "deskd" else row
    for parameter in command.params:
        if tool == "deskctl" and parameter.name in {"json", "quiet"}:
            continue  # told once, for all of them
        if isinstance(parameter, click.Option):
            assert any(name in row or name in shared for name in parameter.opts), parameter.name
        else:
            assert parameter.human_readable_name.rstrip(".") in row, parameter.name


def test_the_page_of_commands_has_every_word_as_help_tells_it():
    told = dict(
        re.findall(r"^\| `desk ([^`]+)` \| ([^|]+) \|$", text_of("commands.md"), re.MULTILINE)
    )
    assert told == dict(WORDS.values())


def test_the_page_of_commands_has_the_words_that_work_inside_a_desktop():
    (told,) = re.findall(r"these words work: ([^.]+)\.", text_of("commands.md"))
    assert set(re.findall(r"`desk ([a-z -]+)`", told)) == INSIDE


def test_every_make_target_is_told():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)
    everywhere = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert targets
    assert [t for t in targets if t != "help" and f"make {t}" not in everywhere] == []


def test_the_page_of_operations_has_every_metric_and_no_other():
    metrics = telemetry.Metrics()
    rendered = metrics.render().decode()
    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(rendered)
    }
    table = text_of("operations.md").split("| metric |")[1].split("\n\n")[0]
    assert set(re.findall(r"`((?:desk|process)_[a-z_]+)`", table)) == there


async def test_the_page_of_operations_has_every_check_and_loop_and_no_other(broker):  # noqa: F811
    table = text_of("operations.md").split("| check of `/readyz` |")[1].split("\n\n")[0]
    told = re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)
    assert sorted(told) == sorted(await broker.health.checks())
    (row,) = re.findall(r"^\| `desk_loop_last_success.*$", text_of("operations.md"), re.MULTILINE)
    (loops,) = re.findall(r"\((.*?)\)", row)
    assert re.findall(r"`([a-z]+)`", loops) == [loop.name for loop in broker.loops]


# --------------------------------------------------------------------------------- links, places


def anchors_of(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors_of(file), target


#: What one machine has and another has not.
PRIVATE = re.compile(
    r"/home/(?!desk\b)\w|/Users/\w|/srv/\w+/\w|/root\b|/tmp/\w|\.pyenv|localdomain"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_place_on_one_machine(page):
    assert PRIVATE.findall(page.read_text(encoding="utf-8")) == []


def test_the_license_is_whole():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("script", ["docker/bootstrap.sh", ".ci/run", ".ci/test"])
def test_a_script_that_is_named_can_be_run(script):
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ROOT / script], check=True)
