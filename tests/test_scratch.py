import os
import subprocess

from tests import scratch


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "SHORT", tmp_path)
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "nowhere")
    with subprocess.Popen(["true"]) as dead:
        pass
    stale = tmp_path / f"desk-test-{dead.pid}-abc"
    (stale / "inner").mkdir(parents=True)
    (stale / "inner/file").touch()
    others = tmp_path / f"desk-test-{os.getppid()}-abc"
    others.mkdir()
    named_otherwise = tmp_path / f"desk-{dead.pid}"
    named_otherwise.mkdir()
    mine = scratch.new_directory()
    scratch.sweep()
    assert set(tmp_path.iterdir()) == {others, named_otherwise, mine}


def test_a_directory_in_memory_is_elsewhere_where_the_host_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "SHORT", tmp_path)
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "nowhere")
    assert scratch.new_directory(memory=True).parent == tmp_path
