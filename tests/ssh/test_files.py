"""Files: sftp, both kinds of scp, rsync, git."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from .clients import Person, environment, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(desk: Person) -> bytes:
    """A file `a` of 3 MB in the person's folder, and an empty folder inside."""
    content = os.urandom(3_000_000)
    (desk.folder / "a").write_bytes(content)
    assert desk.ssh(f"mkdir {desk.name}").status == 0
    return content


def _options(desk: Person) -> list[str]:
    return ["-F", str(desk.config)]


def _got(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_sftp(desk: Person, data: bytes) -> None:
    """Put, list, get."""
    back = desk.folder / "back"
    orders = f"put {desk.folder}/a {desk.name}/s\nls -l {desk.name}\nget {desk.name}/s {back}\n"
    done = run(["sftp", *_options(desk), "-b", "-", "desk"], orders.encode())
    assert done.status == 0, done.err
    assert b"3000000" in done.out
    assert back.read_bytes() == data


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "rcp"])
def test_scp(desk: Person, data: bytes, protocol: list[str]) -> None:
    """There and back, by the new protocol and the old one."""
    scp = ["scp", "-q", *protocol, *_options(desk)]
    assert run([*scp, str(desk.folder / "a"), f"desk:{desk.name}/x"]).status == 0
    assert run([*scp, f"desk:{desk.name}/x", str(desk.folder / "x")]).status == 0
    assert (desk.folder / "x").read_bytes() == data


def test_rsync_both_ways(desk: Person, data: bytes) -> None:
    """A folder goes there and comes back."""
    tree = desk.folder / "tree" / "deep"
    tree.mkdir(parents=True)
    for number in range(50):
        (tree / str(number)).write_bytes(data[number * 1000 : number * 2000])
    rsync = ["rsync", "-a", "-e", " ".join(desk.argv)]
    there = run([*rsync, f"{desk.folder}/tree/", f"desk:{desk.name}/tree/"])
    assert there.status == 0, there.err
    back = run([*rsync, f"desk:{desk.name}/tree/", f"{desk.folder}/again/"])
    assert back.status == 0, back.err
    for number in range(50):
        assert _got(desk.folder / "again" / "deep" / str(number)) == _got(tree / str(number))


def test_git_clone(desk: Person, data: bytes) -> None:
    """A repository inside can be cloned."""
    shutil.copy(desk.folder / "a", desk.inner.home / desk.name / "f")
    made = desk.ssh(
        f"cd {desk.name} && git init -q g && cd g && cp ../f f && git add f"
        " && git -c user.name=a -c user.email=b@c commit -q -m x"
    )
    assert made.status == 0, made.err
    clone = run(
        ["git", "clone", "-q", f"desk:{desk.name}/g", str(desk.folder / "g")],
        env=environment(GIT_SSH_COMMAND=" ".join(desk.argv)),
    )
    assert clone.status == 0, clone.err
    assert (desk.folder / "g" / "f").read_bytes() == data
