"""What a wheel and an sdist have besides the sources: the pages for browsers, built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Pages(BuildHookInterface):
    """Builds broker/web/dist where it can. What an sdist brought along is used as it is where node is
    missing; without either, Desk runs without pages, and says at their addresses how to have them.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del build_data
        web = Path(self.root, "broker", "web")
        # An environment that links to this tree is made often, also where nothing is built.
        if version == "editable" or not (web / "build.sh").exists():
            return
        built = (
            subprocess.run(["/bin/sh", os.fspath(web / "build.sh")], check=False).returncode == 0
        )
        if not built and not (web / "dist" / "index.html").exists():
            self.app.display_warning("The pages for browsers could not be built: Desk has none.")
