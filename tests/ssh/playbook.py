"""A playbook that Ansible runs on a desktop: facts, files there and back, commands, a failure."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PLAY = """\
- hosts: desk
  tasks:
    - ansible.builtin.copy: {src: big, dest: "{{ folder }}/", mode: "0640"}
    - ansible.builtin.copy: {content: "{{ ansible_facts.user_id }}\\n", dest: "{{ folder }}/who", mode: "0600"}
    - ansible.builtin.command: {cmd: cat who, chdir: "{{ folder }}"}
      register: who
      changed_when: false
    - ansible.builtin.shell: {cmd: "cat; echo err >&2; exit 7", stdin: given}
      register: broken
      failed_when: broken.rc != 7 or broken.stdout != "given" or broken.stderr != "err"
      changed_when: false
    - ansible.builtin.assert: {that: [who.stdout == "desk", ansible_facts.python.version.major == 3]}
    - ansible.builtin.fetch: {src: "{{ folder }}/big", dest: back, flat: true}
"""


@contextlib.contextmanager
def ansible(
    config: Path, folder: str, *, pipelining: bool, env: Mapping[str, str]
) -> Iterator[tuple[subprocess.CompletedProcess[str], Path]]:
    """Run it over `ssh -F config desk`, `folder` being its folder over there, which is made.

    Given are the run and where `big` and `back`, its copy, are; its shared connection is ended.
    """
    place = Path(tempfile.mkdtemp(prefix="desk-ansible-", dir="/tmp"))
    try:
        (place / "play.yml").write_text(_PLAY)
        (place / "big").write_bytes(bytes(range(256)) * 4000)
        (place / "ansible.cfg").touch()
        shared = place / "cp"
        yield (
            subprocess.run(
                [
                    Path(sys.executable).with_name("ansible-playbook"),
                    "--inventory=desk,",
                    f"--ssh-common-args=-F {config}",
                    f"--extra-vars=folder={folder}",
                    "play.yml",
                ],
                cwd=place,
                env={
                    **env,
                    "LC_ALL": "C.UTF-8",
                    "ANSIBLE_HOME": str(place / "home"),
                    "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
                    "ANSIBLE_SSH_CONTROL_PATH_DIR": str(shared),
                    "ANSIBLE_PIPELINING": str(pipelining),
                    "ANSIBLE_NOCOLOR": "1",
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=100,
            ),
            place,
        )
        for path in shared.glob("*") if shared.is_dir() else ():
            end = ["ssh", "-F", str(config), "-S", str(path), "-O", "exit", "desk"]
            subprocess.run(end, check=False, capture_output=True)
    finally:
        shutil.rmtree(place)
