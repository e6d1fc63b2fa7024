import json
import shutil
import threading
import time

import numpy as np
import pytest
from serving import Desk, copy_bundle, http, multipliers, name_hashes, point, running, talk, wait_for

pytest_plugins = ["server_fixtures"]


def test_current_names_the_version_that_answers(versions):
    desk = Desk(versions)
    assert desk.model.version == "one"
    assert not desk.store.refresh()
    point(versions, "two")
    assert desk.store.refresh()
    assert desk.model.version == "two"


def test_without_current_the_newest_version_answers(versions, bundles):
    (versions / "CURRENT").unlink()
    desk = Desk(versions)
    assert desk.model.version == "two"
    copy_bundle(bundles["lstm"], versions / "a", version="three")
    assert desk.store.refresh()
    assert desk.model.version == "three"


def test_a_bundle_that_changes_in_its_place_is_loaded_again(bundles, tmp_path):
    desk = Desk(copy_bundle(bundles["mlp"], tmp_path / "b", version="one"))
    shutil.rmtree(tmp_path / "b")
    assert not desk.store.refresh()  # gone: the one in memory goes on
    assert desk.model.version == "one"
    copy_bundle(bundles["mlp"], tmp_path / "b", version="two")
    desk.store.refresh()
    assert desk.model.version == "two"


def truncate(folder):
    path = folder / "policy.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    name_hashes(folder)


def flip(folder):
    path = folder / "policy.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)
    name_hashes(folder)


def flip_uncorrected(folder):
    data = bytearray((folder / "policy.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "policy.onnx").write_bytes(data)


def poison(folder):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(folder / "policy.onnx")
    weights = max(model.graph.initializer, key=lambda x: len(x.raw_data))
    values = numpy_helper.to_array(weights) * np.float32(np.nan)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(model, folder / "policy.onnx")
    name_hashes(folder)


def pickle_golden(folder):
    with np.load(folder / "golden.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["row"] = np.array([{"not": "a number"}], dtype=object)
    np.savez(folder / "golden.npz", **arrays)
    name_hashes(folder)


def other_golden(folder):
    (folder / "golden.npz").write_bytes(b"PK\x03\x04 no archive")
    name_hashes(folder)


def change(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))


BAD = {
    "a truncated graph": truncate,
    "a flipped byte, hash corrected": flip,
    "a flipped byte": flip_uncorrected,
    "weights that are no numbers": poison,
    "a pickled golden": pickle_golden,
    "a golden that is no archive": other_golden,
    "another schema": lambda folder: change(folder, schema=2),
    "a manifest cut off": lambda folder: (folder / "manifest.json").write_text("{"),
    "other symbols": lambda folder: change(folder, symbols=["A"]),
    "another feature hash": lambda folder: change(folder, features_hash="0" * 64),
    "symbols of a wrong type": lambda folder: change(folder, symbols=7),
    "no bar": lambda folder: change(folder, bar_ms=None),
    "no graph": lambda folder: (folder / "policy.onnx").unlink(),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_candidate_is_refused_counted_and_the_old_one_serves(versions, name):
    desk = Desk(versions)
    BAD[name](versions / "two")
    point(versions, "two")
    for _ in range(3):
        assert not desk.store.refresh()
    assert len(desk.refused) == 1  # reported once
    assert "\n" not in desk.refused[0]
    assert desk.one(desk.seen_of("one"))["model"]["version"] == "one"
    assert Desk(versions).ask("/health/ready")[0] == 503
    shutil.rmtree(versions / "two")
    point(versions, "one")
    desk.store.refresh()
    assert desk.model.version == "one"


@pytest.mark.parametrize("name", ["", "..", "../elsewhere", "/etc", ".", "missing", "a\0b", "x" * 5000])
def test_current_names_a_folder_beside_it_or_is_refused(versions, name):
    desk = Desk(versions)
    point(versions, name)
    assert not desk.store.refresh()
    assert len(desk.refused) == 1
    assert desk.model.version == "one"


def test_a_candidate_that_is_mended_is_served(versions, bundles):
    desk = Desk(versions)
    kept = (versions / "two" / "policy.onnx").read_bytes()
    (versions / "two" / "policy.onnx").write_bytes(kept[:100])
    point(versions, "two")
    assert not desk.store.refresh()
    (versions / "two" / "policy.onnx").write_bytes(kept)
    assert desk.store.refresh()
    assert desk.model.version == "two"


def hammer(port, body, answers, stop, errors):
    """Asks on one kept connection until it is to stop."""
    import http.client

    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not stop.is_set():
        try:
            link.request("POST", "/predict", body)
            reply = link.getresponse()
            answers.append((reply.status, reply.read()))
        except Exception as error:
            errors.append(error)


def swap_under_load(versions, flips, least):
    """Statuses and versions of the answers while CURRENT flips."""
    desk = Desk(versions)
    point(versions, "one")
    desk.store.refresh()
    body = json.dumps({"instances": [desk.seen_of("one")] * 3}).encode()
    answers, errors, stop = [], [], threading.Event()
    desk.store.watch(0.01, desk.metrics.inputs.flush)
    with running(desk.app) as port:
        threads = [threading.Thread(target=hammer, args=(port, body, answers, stop, errors)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for k in range(flips):
            name = ("two", "one")[k % 2]
            point(versions, name)
            wait_for(lambda name=name: desk.model.version == name)
            before = len(answers)
            wait_for(lambda before=before: len(answers) >= before + least // flips)
        stop.set()
        for thread in threads:
            thread.join()
    desk.store.stopping.set()
    assert not errors
    assert not desk.refused
    return [(status, json.loads(body)) for status, body in answers]


def check_answers(answers):
    seen = set()
    for status, answer in answers:
        assert status == 200
        versions = {x["model"]["version"] for x in answer["predictions"]}
        assert len(versions) == 1  # all of an answer is of one version
        seen |= versions
        assert len({tuple(multipliers(x)) for x in answer["predictions"]}) == 1
    assert seen == {"one", "two"}


def test_20_swaps_under_load_lose_no_answer_and_each_is_of_one_version(versions):
    check_answers(swap_under_load(versions, flips=20, least=400))


@pytest.mark.slow
def test_10000_requests_during_20_swaps(versions):
    answers = swap_under_load(versions, flips=20, least=10_000)
    assert len(answers) >= 10_000
    check_answers(answers)


def test_a_slow_header_is_cut_off_and_a_slow_body_told(bundles, monkeypatch):
    from export.serving.protocol import GuardedProtocol

    monkeypatch.setattr(GuardedProtocol, "header_seconds", 0.4)
    desk = Desk(bundles["mlp"], read_seconds=0.4)
    with running(desk.app) as port:
        start = time.monotonic()
        assert talk(port, [b"POST /predict HTTP/1.1\r\n"] + [b"x: y\r\n"] * 20, pause=0.1) == b""
        assert time.monotonic() - start < 10
        assert talk(port, b"") == b""
        good = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        answer = talk(port, [good] + [b"GET /health/live HTTP/1.1\r\n"] + [b"x: y\r\n"] * 20, pause=0.1)
        assert answer.count(b"200 OK") == 1  # also the second headers of a kept connection
        answer = talk(port, b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert b"408" in answer
        assert b"too_slow" in answer


def test_endless_headers_and_no_http_at_all_are_refused(bundles):
    desk = Desk(bundles["mlp"])
    with running(desk.app) as port:
        assert b"400 Bad Request" in talk(port, b"hello\r\n\r\n")
        answer = talk(port, [b"GET / HTTP/1.1\r\n"] + [b"x: " + b"y" * 8000 + b"\r\n"] * 20)
        assert b"431 Request Header Fields Too Large" in answer or answer == b""
        assert b"200 OK" in talk(port, http("/predict", json.dumps({"instances": [desk.seen()]}).encode()))


def test_a_body_that_is_too_large_is_refused_over_the_wire(bundles):
    desk = Desk(bundles["mlp"])
    with running(desk.app) as port:
        assert b"413" in talk(port, http("/predict", b" " * (2**20 + 1)))
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        assert b"413" in talk(port, [head] + [chunk] * 17)
