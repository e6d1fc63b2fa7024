"""Folders that servers killed by kill -9 leave are removed by the next one; all others stay."""

import fcntl
import os
import time

from export.serving.telemetry.shared_metrics import OWNER, YOUNG_SECONDS, remove_abandoned, shared_folder


def left_behind(place, name, age):
    """A folder as a server leaves it, so many seconds old."""
    folder = place / name
    folder.mkdir()
    (folder / OWNER).touch()
    (folder / "counter_0.db").write_bytes(b"numbers")
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def test_only_folders_whose_server_is_dead_are_removed(tmp_path):
    old = 10 * YOUNG_SECONDS
    dead, alive, unknown = (left_behind(tmp_path, f"himari-metrics-{x}", old) for x in ("dead", "alive", "unknown"))
    young = left_behind(tmp_path, "himari-metrics-young", 0)
    other = left_behind(tmp_path, "of-another", old)
    (unknown / OWNER).unlink()
    os.utime(unknown, (time.time() - old,) * 2)
    (tmp_path / "himari-metrics-link").symlink_to(other)
    with open(alive / OWNER) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        remove_abandoned(tmp_path)
        assert not dead.exists()
        assert all(folder.exists() for folder in (alive, unknown, young, other))
    remove_abandoned(tmp_path)
    assert not alive.exists()
    assert (other / "counter_0.db").exists()


def test_a_server_holds_its_folder_and_removes_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with shared_folder() as folder:
        os.utime(folder, (0, 0))
        remove_abandoned(tmp_path)
        assert os.path.isdir(folder)
    assert list(tmp_path.iterdir()) == []
