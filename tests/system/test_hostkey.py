"""Who may read the host key."""

import asyncssh
import pytest

from broker.core.errors import StateUnusable
from broker.system.hostkey import load_or_make


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_host_key_that_others_may_read_is_refused(tmp_path, mode):
    """With what to do, and left as it is; its owner's alone is taken again."""
    path = tmp_path / "ssh_host_key"
    made = load_or_make(path)
    path.chmod(mode)
    with pytest.raises(StateUnusable) as caught:
        load_or_make(path)
    assert f"has mode {mode:04o}" in caught.value.public
    assert "chmod 600" in caught.value.public
    path.chmod(0o400)
    assert load_or_make(path).get_fingerprint() == made.get_fingerprint()


def test_an_unfinished_key_that_others_may_read_never_becomes_the_host_s(tmp_path):
    """A file that a crash left keeps its mode when it is written again."""
    (tmp_path / "ssh_host_key.new").write_text("half")
    (tmp_path / "ssh_host_key.new").chmod(0o644)
    made = load_or_make(tmp_path / "ssh_host_key")
    assert (tmp_path / "ssh_host_key").stat().st_mode & 0o777 == 0o600
    assert asyncssh.read_private_key(tmp_path / "ssh_host_key") == made
