"""Contents of a bundle: a graph that is a policy, an archive of known size, names that can be answered with."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
from file_forms import zipped
from mutations import bomb, claim, damage, edit_graph, loop, nested, outside
from onnx import TensorProto, helper, numpy_helper
from serving import ROOT

from export.contents.archive import read_arrays
from export.contents.files import read_contents, read_manifest
from export.contents.graph import MODEL, OPERATORS, check_graph
from export.contents.wire import WireError, read_message
from export.loading import load
from himari_jax.errors import InputError

pytest_plugins = ["server_fixtures"]


@pytest.fixture
def copy(bundles, tmp_path):
    """A bundle that may be altered."""
    shutil.copytree(bundles["mlp"], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_the_strict_reader_reads_what_onnx_reads(bundles, name):
    data = (bundles[name] / "policy.onnx").read_bytes()
    ours, theirs = read_message(memoryview(data), MODEL, "model")["graph"], onnx.load_from_string(data).graph
    assert [node["op_type"] for node in ours["node"]] == [node.op_type for node in theirs.node]
    assert {node.op_type for node in theirs.node} <= OPERATORS
    for mine, yours in zip(ours["initializer"], theirs.initializer, strict=True):
        assert mine.get("name", "") == yours.name
        assert tuple(mine["dims"]) == tuple(yours.dims)
        assert bytes(mine["raw_data"]) == yours.raw_data


def test_damaged_bytes_that_are_accepted_are_the_graph_that_onnx_sees(bundles):
    data, rng = (bundles["mlp"] / "policy.onnx").read_bytes(), np.random.default_rng(0)
    accepted = 0
    for _ in range(400):
        other = damage(data, rng)
        try:
            check_graph(other, "here")
        except InputError:
            continue
        accepted += 1
        model = onnx.load_from_string(other)
        assert {(node.domain, node.op_type) for node in model.graph.node} <= {("", name) for name in OPERATORS}
        assert not [x for x in model.graph.initializer if x.external_data]
        assert not [x for node in model.graph.node for x in node.attribute if x.HasField("g") or x.graphs]
        assert not model.functions
    assert accepted > 10


def vendor(model):
    model.graph.node[0].domain = "com.microsoft"


def older(model):
    model.opset_import[0].version = 17


def second_vendor(model):
    model.opset_import.add(domain="ai.onnx.ml", version=3)


def function(model):
    model.functions.add(name="Tanh", domain="")


def random_draws(model):
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[2]))


def metadata(model):
    model.metadata_props.add(key="a", value="b")


def long_constant(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**40]), "long"))


def short_constant(model):
    model.graph.initializer.add(name="short", dims=[10**6], data_type=TensorProto.FLOAT, raw_data=b"1234")


def texts(model):
    model.graph.initializer.add(name="text", dims=[1], data_type=TensorProto.STRING, string_data=[b"x"])


def sparse(model):
    model.graph.sparse_initializer.add(dims=[2])


def constant_node(model):
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(2))))


EDITS = (
    *(vendor, older, second_vendor, function, random_draws, metadata, long_constant, short_constant, texts, sparse),
    constant_node,
)


@pytest.mark.parametrize("edit", EDITS)
def test_a_graph_that_is_more_than_a_policy_is_refused(copy, edit):
    edit_graph(copy, edit)
    with pytest.raises(InputError, match="not the graph of a policy"):
        load(copy)


def test_a_graph_cannot_show_a_file_of_the_server(copy, tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(b"secret" * 100)
    monkeypatch.chdir(tmp_path)
    outside("key")(copy)
    with pytest.raises(InputError, match=r"the field 1[34], which no exported policy has"):
        load(copy)


def test_a_graph_with_a_loop_is_refused(copy):
    loop(copy)
    with pytest.raises(InputError, match="not the graph of a policy"):
        load(copy)


def test_what_protobuf_would_merge_is_refused(bundles):
    data = (bundles["mlp"] / "policy.onnx").read_bytes()
    assert len(onnx.load_from_string(data + data).graph.node) > len(onnx.load_from_string(data).graph.node)
    with pytest.raises(InputError, match="given twice"):
        check_graph(data + data, "here")


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x80" * 11, b"\x08\x80\x00", b"\x0f", b"\x3a\xff\x01", b"\x3a\x80\x80\x80\x80\x10"]
)
def test_bytes_that_are_no_message_are_refused(data):
    with pytest.raises(WireError):
        read_message(memoryview(data), MODEL, "model")


def test_an_archive_is_read_as_numpy_reads_it(bundles):
    data = (bundles["lstm"] / "golden.npz").read_bytes()
    with np.load(io.BytesIO(data)) as stored:
        theirs = {name: stored[name] for name in stored.files}
    ours = read_arrays(data)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
        assert ours[name].dtype == array.dtype


def test_an_archive_that_would_unpack_to_too_much_is_refused_before_it_is_unpacked(copy):
    bomb(copy, size=300 * 2**20)
    assert (copy / "golden.npz").stat().st_size < 4 * 2**20
    with pytest.raises(InputError, match=r"golden.npz: damaged .it unpacks to 314,572,928 bytes; must be at most"):
        load(copy)


def test_an_array_is_as_long_as_it_says(copy):
    claim(copy)
    with pytest.raises(InputError, match=r"golden.npz: damaged .*shape"):
        load(copy)


def test_pickles_and_strange_members_are_refused():
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([{}], dtype=object))
    for data in (zipped(a__npy=stream.getvalue()), zipped(a__npy=b"no array"), zipped(a__npy=b""), b"PK"):
        with pytest.raises((ValueError, zipfile.BadZipFile)):
            read_arrays(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("symbols", ["SYN1", "SYN1"]),
        ("symbols", ["SYN1", ""]),
        ("name", "\ud800"),
        ("name", "x" * 300),
        ("version", ""),
        ("config", 2**70),
        ("carry_shapes", [[-1]]),
        ("sizing", {"base_sizing": "constant", "rules": {"max_gross": 1e999}}),
    ],
)
def test_a_manifest_holds_what_can_be_answered_with(copy, key, value):
    manifest = json.loads((copy / "manifest.json").read_text()) | {key: value}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="damaged"):
        read_manifest(copy)


def test_a_manifest_without_end_is_refused(copy):
    nested(copy)
    with pytest.raises(InputError, match="damaged"):
        read_manifest(copy)


@pytest.mark.parametrize("name", ["manifest.json", "policy.onnx", "golden.npz"])
def test_what_is_no_file_is_refused_and_never_waited_for(copy, name):
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(InputError, match="not a regular file"):
        read_contents(copy)


def test_one_module_imports_onnxruntime():
    paths = [path for room in ("himari_jax", "envs", "train", "export") for path in (ROOT / room).rglob("*.py")]
    imported = re.compile(r"^\s*(import|from)\s+onnxruntime", re.MULTILINE)
    assert [path.name for path in paths if imported.search(path.read_text())] == ["session.py"]


def test_a_session_calls_nobody_and_leaves_no_file(bundles, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import os, sys; from himari_jax.onnx.session import open_session; "
        "open_session(open(sys.argv[1], 'rb').read()); print(len(os.listdir('/proc/self/task')))"
    )
    command = [sys.executable, "-c", code, str(bundles["mlp"] / "policy.onnx")]
    if strace := shutil.which("strace"):
        command = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(tmp_path / "calls"), *command]
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(home)) | {"OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert not list(home.rglob("*"))
    assert int(found.stdout) == 1  # none that would send anything later
    if strace:
        assert not (tmp_path / "calls").read_text()
