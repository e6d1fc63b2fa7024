"""Files of a run are whole, whenever a write fails or a process dies."""

import contextlib
import errno
import json
import os

import numpy as np
import polars as pl
import pytest

from himari_jax.atomic import put_in_place, replacing
from himari_jax.errors import InputError, StorageError
from train.artifacts.files import read_text, write_frame, write_json, write_text
from train.artifacts.metrics_file import cut_metrics, read_metrics
from train.backtesting.grid import EquityFile

FRAME = pl.DataFrame({"time": [1, 2], "equity": [1.0, 2.0]})


def write_equity(path, frame):
    """equity.parquet in two parts."""
    with EquityFile(path) as file:
        for part in (frame[:1], frame[1:]):
            file.add(part)
            file.flush()


WRITERS = {
    "text": lambda path, full: write_text(path, "ab" * full),
    "json": lambda path, full: write_json(path, {"a": [1] * full}),
    "frame": lambda path, full: write_frame(path, FRAME[:full]),
    "equity": lambda path, full: write_equity(path, FRAME[:full]),
}


def refuse(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, writer, call):
    path = tmp_path / "file"
    writer(path, 2)
    before = path.read_bytes()
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match=r"file: No space left on device; make room") as found:
        writer(path, 1)
    assert "\n" not in str(found.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_what_a_killed_process_left_does_not_stand_in_the_way(tmp_path, writer):
    path, part = tmp_path / "file", tmp_path / "file.part"
    writer(path, 2)
    whole = path.read_bytes()
    part.mkdir()
    (part / "half").write_text("x")
    writer(path, 2)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_gets_its_name_only_when_its_bytes_are_on_the_disk(tmp_path, monkeypatch):
    done, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(os.readlink(f"/proc/self/fd/{number}")), sync(number)))
    monkeypatch.setattr(os, "replace", lambda part, path: (done.append("renamed"), rename(part, path)))
    for path in (tmp_path / "a", tmp_path / "b"):
        with replacing(path) as part:
            part.write_text("x")
        assert done == [str(part), "renamed"]
        done.clear()
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    names = [folder / "one", folder / "inner" / "two"]
    for name in names:
        name.write_text("x")
    put_in_place(folder, tmp_path / "moved")
    assert sorted(done[:-1]) == sorted(map(str, names))
    assert done[-1] == "renamed"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "bundle"
    with contextlib.suppress(KeyboardInterrupt), replacing(place) as part:
        part.mkdir()
        (part / "half").write_text("x")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with replacing(place) as part:
        part.mkdir()
        (part / "whole").write_text("x")
        assert not place.exists()
    assert [p.name for p in place.iterdir()] == ["whole"]


def test_a_file_in_the_way_of_a_folder_stays(tmp_path):
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(OSError, match="Not a directory"), replacing(tmp_path / "bundle") as part:
        part.mkdir()
    assert (tmp_path / "bundle").read_text() == "mine"


def test_metrics_are_read_up_to_a_torn_last_line_and_a_damaged_one_is_told_in_one_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(tmp_path) == []
    path.write_text('{"update": 1}\n{"update": 2}\n{"upd')
    assert read_metrics(tmp_path) == [{"update": 1}, {"update": 2}]
    path.write_text('{"update": 1}\n[\n{"update": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl: damaged") as found:
        read_metrics(tmp_path)
    assert "\n" not in str(found.value)


def test_cut_metrics_end_at_the_update_and_torn_lines_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    cut_metrics(tmp_path, 3)
    assert not path.exists()
    lines = [json.dumps({"update": k, "reward": k / 3}) for k in np.arange(6).tolist()]
    path.write_text("\n".join([*lines[:2], '{"upd', *lines[2:]]) + "\n" + '{"update": 6')
    cut_metrics(tmp_path, 3)
    assert path.read_text().splitlines() == lines[:4]
    assert [x["update"] for x in read_metrics(tmp_path)] == [0, 1, 2, 3]


def test_text_that_is_none_is_one_line(tmp_path):
    assert read_text(tmp_path / "none") is None
    assert read_text(tmp_path / "none" / "inside") is None
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(tmp_path / "bytes")
