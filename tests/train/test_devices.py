"""Environments split among devices, processes that train together: the same policy, and nothing big is exchanged."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from worlds import TINY_RUN

from himari_jax.command import run_command
from himari_jax.errors import CheckpointError, HimariError, InputError
from train.artifacts.checkpoint import Checkpoints
from train.artifacts.saved_policies import read_saved
from train.distributed.processes import ProcessPlace, broadcast, broadcast_text, find_place, on_first_process
from train.learning.state import Sizes
from train.ppo import main

ROOT = Path(__file__).parents[2]
LONE = {"cluster": {"workerpool0": ["a:1"]}, "task": {"type": "workerpool0", "index": 0}}
CLUSTER = {
    "cluster": {"workerpool1": ["b:2222", "c:2222"], "workerpool0": ["a:2222"], "workerpool10": ["d:2222"]},
    "environment": "cloud",
    "task": {"type": "workerpool1", "index": 1},
}


def start(args, cwd=ROOT, **environment):
    """A process of its own."""
    path = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"
    return subprocess.Popen(
        [sys.executable, *args], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **environment},
    )  # fmt: skip


@pytest.mark.parametrize("devices", ["4", pytest.param("8", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "flags",
    [
        "--source synthetic --num-envs 64 --rollout-steps 16",
        pytest.param("--source synthetic --num-envs 64 --policy lstm", marks=pytest.mark.slow),
        # At the default rate a portfolio's first updates are so large that rounding grows a thousandfold in each.
        pytest.param(
            "--source synthetic --num-envs 64 --symbols SYN1 SYN2 SYN3 --learning-rate 1e-4", marks=pytest.mark.slow
        ),
        pytest.param("--env garleanu-pedersen --algorithm pathwise --num-seeds 2", marks=pytest.mark.slow),
    ],
)
def test_four_and_eight_devices_equal_one_and_gather_nothing(flags, devices):
    assert_devices_agree(flags, DEVICES=devices)


@pytest.mark.slow
def test_the_recurrence_for_gpus_gathers_nothing_either():
    assert_devices_agree("--source synthetic --num-envs 64 --policy lstm", DEVICES="4", HIMARI_LSTM_FORM="unrolled")


def assert_devices_agree(flags, **environment):
    """A run on several devices ends where it ends on one, and sums alone are exchanged."""
    process = start([str(ROOT / "tests" / "support" / "virtual.py"), *flags.split()], **environment)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-2000:]
    for count, info in json.loads(out.splitlines()[-1]).items():
        assert info["apart"] < 1e-5, (count, info)
        assert set(info["collectives"]) == {"all-reduce"}, (count, info)
        # Gradients and a few sums: never environments, rollouts or markets.
        assert info["largest"] <= info["weights"] + 64, (count, info)


def test_devices_that_are_not_there_or_cannot_share_are_refused(tmp_path, capsys):
    assert run_command(main, [*TINY_RUN, "--run-dir", str(tmp_path / "a"), "--devices", "2"]) == 2
    assert "--devices 2: jax finds 1 of kind cpu; use --devices all" in capsys.readouterr().err
    args = ["-m", "train.ppo", *TINY_RUN, "--num-envs", "6", "--run-dir", str(tmp_path / "b"), "--devices", "all"]
    process = start(args, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "--devices 4: the 3 environments of a minibatch" in err.splitlines()[-1]
    assert "choose --num-envs as a multiple of 8 (" in err.splitlines()[-1]
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("envs", "minibatches", "devices"), [(384, 8, 6), (224, 8, 4), (112, 8, 2), (1536, 8, 3), (480, 8, 5), (256, 8, 16)]
)
def test_environments_that_can_be_shared_out_are(envs, minibatches, devices):
    sizes = Sizes(envs, 1, 1, minibatches, 10, num_devices=devices)
    assert sizes.blocks % devices == 0
    assert (envs // minibatches) % sizes.blocks == 0


@pytest.mark.parametrize("envs", [64, 128, 256, 512])
def test_the_blocks_of_one_device_are_those_of_eight(envs):
    assert {Sizes(envs, 1, 1, 8, 10, num_devices=n).blocks for n in (1, 2, 4, 8)} == {8}


@pytest.mark.parametrize(
    ("given", "environment", "place"),
    [
        ((None, None, None), {}, None),
        ((None, 1, None), {"SLURM_STEP_NUM_TASKS": "4", "CLUSTER_SPEC": "junk"}, None),
        ((None, None, None), {"SLURM_STEP_NUM_TASKS": "4"}, ProcessPlace()),
        ((None, None, None), {"SLURM_STEP_NUM_TASKS": "1"}, None),
        ((None, None, None), {"SLURM_NTASKS": "4"}, None),  # the shell of an allocation, not a task
        ((None, None, None), {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:3"}, ProcessPlace()),
        ((None, None, None), {"OMPI_COMM_WORLD_SIZE": "2"}, None),  # jax could not find the others
        ((None, None, None), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),  # many pods train alone
        (("auto", None, None), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, ProcessPlace()),
        (("h:1", 2, 1), {"SLURM_STEP_NUM_TASKS": "4"}, ProcessPlace("h:1", 2, 1)),
        ((None, None, None), {"CLUSTER_SPEC": json.dumps(CLUSTER)}, ProcessPlace("a:2222", 4, 2)),
        ((None, None, None), {"CLUSTER_SPEC": json.dumps(LONE)}, None),
    ],
)  # fmt: skip
def test_a_process_finds_its_place(given, environment, place):
    assert find_place(*given, environment) == place


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
     '{"cluster": {"workerpool0": ["a:1"]}, "task": {"type": "workerpool0", "index": 3}}', '{"cluster": 3, "task": 4}'],
)  # fmt: skip
def test_a_strange_cluster_is_one_line(text):
    with pytest.raises(InputError, match=r"^CLUSTER_SPEC: .*--num-processes 1$"):
        find_place(None, None, None, {"CLUSTER_SPEC": text})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--coordinator h", "--coordinator h: must be HOST:PORT or auto"),
        ("--coordinator h:1", "--coordinator h:1: must be given with --num-processes and --process-id"),
        ("--coordinator h:1 --num-processes 2", "--process-id None: must be 0 to 1"),
        ("--coordinator h:1 --num-processes 2 --process-id 2", "--process-id 2: must be 0 to 1"),
        ("--num-processes 2", "--num-processes 2: must be given beside --coordinator HOST:PORT"),
        ("--process-id 0", "--process-id 0: must be given beside --coordinator HOST:PORT"),
        ("--devices 0", "--devices 0: must be 1 or more, or all"),
        ("--devices some", "--devices"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, said, capsys):
    assert run_command(main, flags.split()) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_alone_a_process_leads_and_tells_itself():
    tree = {"a": np.float32([1, -0.0]), "b": np.bool_([True])}
    assert broadcast(tree) is tree
    assert on_first_process(lambda: 3) == 3
    assert broadcast_text("runs/ä b") == "runs/ä b"
    with pytest.raises(CheckpointError, match="gone"):
        on_first_process(lambda: (_ for _ in ()).throw(CheckpointError("gone")))


def together(folder, flags, count=2):
    """Processes that train one policy on this machine."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    common = ["-m", "train.ppo", *TINY_RUN, *flags, "--run-dir", str(folder), "--num-processes", str(count)]
    return [
        start([*common, "--coordinator", f"127.0.0.1:{port}", "--process-id", str(k)], cwd=folder.parent)
        for k in range(count)
    ]


def ended(processes, seconds=300):
    """Exit codes, and what each said."""
    try:
        info = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], info


@pytest.mark.slow
def test_two_processes_equal_one_go_on_after_a_signal_and_only_the_first_writes(tmp_path):
    flags = ["--total-steps", str(256 * 40), "--save-interval", "1"]
    assert run_command(main, [*TINY_RUN, *flags, "--run-dir", str(tmp_path / "one")]) == 0
    processes = together(tmp_path / "two", flags)
    deadline = time.monotonic() + 200
    while not (tmp_path / "two" / "checkpoints" / "8").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)  # whichever hears it, all stop
    codes, info = ended(processes)
    assert codes == [75, 75], info
    codes, info = ended(together(tmp_path / "two", flags))
    assert codes == [0, 0], info
    assert "continuing at update" in info[0][0]
    assert "continuing" not in info[1][0]
    one, two = read_saved(tmp_path / "one", "latest"), read_saved(tmp_path / "two", "latest")
    assert one.step == two.step == 40
    for name, leaf in flat(one.variables["params"]).items():
        np.testing.assert_allclose(flat(two.variables["params"])[name], leaf, atol=1e-5, err_msg=name)
    lines = [json.loads(x)["update"] for x in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert lines == sorted(set(lines))


def flat(tree, prefix=""):
    """Leaves by path."""
    if not isinstance(tree, dict):
        return {prefix: np.asarray(tree)}
    return {key: leaf for name, branch in tree.items() for key, leaf in flat(branch, f"{prefix}/{name}").items()}


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_process_is_killed_the_other_ends(victim, tmp_path):
    processes = together(tmp_path / "run", ["--total-steps", str(256 * 100_000), "--save-interval", "1"])
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "checkpoints" / "4").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[victim].kill()
    killed = time.monotonic()
    codes, info = ended(processes, 60)
    assert time.monotonic() - killed < 60
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] not in (0, None), info[1 - victim]
    if victim == 1:
        assert codes[0] == 75
        assert info[0][1].strip().splitlines()[-1].startswith("another process was lost")
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps()


@pytest.mark.slow
def test_processes_with_other_flags_or_a_bad_folder_end_together(tmp_path):
    (tmp_path / "file").write_text("")
    codes, info = ended(together(tmp_path / "file", []))
    assert codes == [5, 5], info
    assert "process 0 stopped" in info[1][1].splitlines()[-1]
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    common = ["-m", "train.ppo", *TINY_RUN, "--num-processes", "2", "--coordinator", f"127.0.0.1:{port}"]
    pair = [
        start([*common, "--process-id", str(k), "--gamma", str(0.9 + k / 100), "--run-dir", str(tmp_path / "r")])
        for k in (0, 1)
    ]
    codes, info = ended(pair)
    assert codes == [2, 2], info
    assert all("process 1 has other flags than process 0" in x[1].splitlines()[-1] for x in info)
    assert not (tmp_path / "r").exists()


def test_the_kinds_of_failure_keep_their_exit_codes():
    from train.distributed.processes import KINDS

    assert sorted(KINDS) == [2, 3, 4, 5, 75]
    assert all(issubclass(kind, HimariError) and kind.exit_code == code for code, kind in KINDS.items())
