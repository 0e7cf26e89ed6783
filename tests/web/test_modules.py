"""The pages' modules, by node's own test runner, and the pages as they are built."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "broker" / "web"

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@needs_node
def test_modules_do_what_their_tests_say() -> None:
    done = subprocess.run(
        ["node", "--test", "test/"], cwd=WEB, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_lock_file_names_no_registry() -> None:
    """So that what it names can come from whatever registry npm is set to."""
    lock = (WEB / "package-lock.json").read_text()
    assert '"integrity"' in lock
    assert not re.search(r"resolved|https?://", lock)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pages, built twice: here, and from a copy that lies elsewhere."""
    if not (WEB / "node_modules" / "esbuild").is_dir() or shutil.which("node") is None:
        pytest.skip("what builds the pages is not installed: make web")
    copy = tmp_path_factory.mktemp("elsewhere") / "pages"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("dist", "dist.new"), symlinks=True)
    outs = []
    for source in (WEB, copy):
        out = tmp_path_factory.mktemp("dist")
        subprocess.run(["node", source / "build.mjs", out], check=True)
        outs.append(out)
    return outs


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_same_sources_give_the_same_bytes(built: list[Path]) -> None:
    here, elsewhere = map(files, built)
    assert here == elsewhere
    assert {"index.html", "admin.html", "join.html", "desktop.html", "alone/index.html"} <= set(
        here
    )


def test_pages_ask_for_nothing_that_was_not_built(built: list[Path]) -> None:
    for root in (built[0], built[0] / "alone"):
        for page in root.glob("*.html"):
            for address in re.findall(r'(?:src|href)="([^"]+)"', page.read_text()):
                assert address.startswith("/assets/"), f"{page.name} names {address}"
                assert (root / address.lstrip("/")).is_file(), f"{page.name} names {address}"


def test_pages_carry_no_script_and_no_style_of_their_own(built: list[Path]) -> None:
    """Their policy would refuse either."""
    for page in built[0].rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text), page.name


def test_what_is_built_reaches_no_other_host(built: list[Path]) -> None:
    """Addresses in it are names of XML, and of what noVNC's comments and licence tell."""
    known = {"www.w3.org"}
    for script in built[0].rglob("*.js"):
        hosts = set(re.findall(rb"(?:https?|wss?)://([\w.-]+\.\w+)", script.read_bytes()))
        assert {host.decode() for host in hosts} <= known, script.name
