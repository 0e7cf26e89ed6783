"""Where the pages are built, and where they cannot be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "broker" / "web"

needs_pages = pytest.mark.skipif(
    not (WEB / "node_modules" / "esbuild").is_dir() or shutil.which("node") is None,
    reason="what builds the pages is not installed: make web",
)

#: All that build.sh needs to find out that there is no node.
TOOLS = ("sh", "dirname", "find", "sort", "xargs", "cksum", "cat", "stat")


def copied(to: Path) -> Path:
    """The sources of the pages, elsewhere."""
    unwanted = shutil.ignore_patterns("dist", "dist.new", "node_modules", ".built", ".lock")
    return Path(shutil.copytree(WEB, to / "web", ignore=unwanted))


def test_without_node_it_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    web, tools = copied(tmp_path), tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        [web / "build.sh"], env={"PATH": str(tools)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "pages: node is missing, which builds them: install nodejs (18 or newer).\n"
    )
    assert not (web / "dist").exists()


@needs_pages
def test_pages_are_built_when_their_sources_changed_and_then_alone(tmp_path: Path) -> None:
    web = copied(tmp_path)
    shutil.copytree(WEB / "node_modules", web / "node_modules", symlinks=True)
    shutil.copy(WEB / "package-lock.json", web / "node_modules" / ".desk-lock")

    def build(*words: str) -> tuple[int, str]:
        done = subprocess.run([web / "build.sh", *words], capture_output=True, text=True)
        return done.returncode, done.stderr

    assert build("--check") == (1, "")
    assert build() == (0, "pages: built.\n")
    before = (web / "dist" / "index.html").stat().st_ino
    assert build("--check") == (0, "")
    assert build() == (0, "")
    assert (web / "dist" / "index.html").stat().st_ino == before
    with (web / "src" / "style" / "base.css").open("a") as style:
        style.write("body { opacity: 0.99; }\n")
    assert build("--check") == (1, "")
    assert build() == (0, "pages: built.\n")
    (web / "src" / "home" / "home.js").write_text("import './nothing.js';\n")
    code, told = build()
    assert code == 1
    assert "nothing.js" in told
    assert (web / "dist" / "index.html").exists(), "what was there before stays"


@needs_pages
def test_the_image_has_one_name_wherever_it_is_built_and_another_without_pages(
    tmp_path: Path,
) -> None:
    def name(script: Path) -> str:
        words = [script, "--name-only"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert re.fullmatch(r"desk-desktop:[0-9a-f]{12}\n", done.stdout)
        return done.stdout

    here = name(ROOT / "docker" / "build.sh")
    installed = Path(shutil.copytree(ROOT / "docker", tmp_path / "docker"))
    assert name(installed / "build.sh") != here
    shutil.copytree(WEB / "dist" / "alone", installed / "alone")
    assert name(installed / "build.sh") == here
