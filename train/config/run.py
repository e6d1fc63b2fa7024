"""Flags of seeds, the run folder, devices and processes."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from himari_jax.command import auto, flag, require
from himari_jax.storage import SCHEME, named_address, split_address


@dataclass(frozen=True)
class RunConfig:
    """Seeds, the run folder and the device."""

    seed: int = 0
    """Seed of everything; with --num-seeds K the seeds are seed, seed + 1, ..."""
    num_seeds: int = 1
    """Policies trained side by side in one program."""
    run_dir: Annotated[str | None, auto("runs/<UTC time>-<policy>-<symbols>")] = None
    """The run folder; one that holds checkpoints is continued. gs://BUCKET/PREFIX keeps it in a bucket."""
    bucket_name: str | None = None
    """Bucket of the run, given with --model-dir: the two are --run-dir gs://BUCKET_NAME/MODEL_DIR."""
    model_dir: str | None = None
    """Folder of the run in the bucket, given with --bucket-name."""
    ledger: Annotated[str | None, auto("trials.jsonl beside the run folder")] = None
    """Place where trials are counted, one for all users: a folder, FILE.jsonl or gs://BUCKET/PREFIX."""
    save_interval: Annotated[int | None, auto("a tenth of the run")] = None
    """Episodes between checkpoints."""
    save_seconds: float = 600.0
    """Seconds after which a checkpoint is due in any case; inf leaves it to --save-interval."""
    eval_interval: Annotated[int | None, auto("a twentieth of the run")] = None
    """Episodes between evaluations on the validation span."""
    keep: int = 3
    """Newest checkpoints to keep; the best on validation travels in each."""
    resume: bool = False
    """Go on with --run-dir, or with the newest unfinished run under runs/; its flags are known."""
    fresh: bool = False
    """Refuse a run folder that is not empty."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes a GPU when there is one."""
    devices: Annotated[
        Literal["all"] | int | None, auto("one device, or all of them where several processes train together")
    ] = None
    """Devices among which the environments are shared out: a number, or all."""
    coordinator: Annotated[str | None, auto("as SLURM, Open MPI or Vertex AI say; else this process alone")] = None
    """HOST:PORT of the first of several processes that train together; auto looks for any cluster, Kubernetes too."""
    num_processes: Annotated[int | None, auto("with --coordinator auto found out")] = None
    """Number of processes that train together; 1 trains alone wherever it runs."""
    process_id: Annotated[int | None, auto("with --coordinator auto found out")] = None
    """Number of this process, from 0; the first one writes the run folder and the log."""
    deterministic: bool = False
    """On a GPU: the same numbers in every run, at some cost in speed. A CPU has them anyway, on as many cores: their
    number decides in which order a sum is taken."""
    worthwhile: float = 0.1
    """Annual Sharpe that the multiplier has to add to be worth having; NO EDGE says that it does not."""
    permutations: int = 0
    """Null markets, the candles with their bars permuted, on which everything is trained anew: how often chance alone
    does as well. 0: none; 200 is usual."""
    permute: Literal["bars", "blocks"] = "bars"
    """bars: one by one. blocks: a month of bars together, which keeps clusters of volatility: the harder test."""
    debug: bool = False
    """Show the traceback of an error; at the end, what each compiled program took."""

    def __post_init__(self):
        require(0 <= self.seed < 2**31, "--seed", self.seed, "0 to 2147483647")
        require(self.run_dir != "", "--run-dir", "''", "the name of a folder")
        both = self.run_dir is not None and (self.bucket_name is not None or self.model_dir is not None)
        require(not both, "--run-dir and --bucket-name", f"{self.run_dir}, {self.bucket_name}", "one of the two")
        if self.address is not None:
            split_address(self.run_dir or self.address)
        check_ledger(self.ledger)
        require(1 <= self.num_seeds <= 4096, "--num-seeds", self.num_seeds, "1 to 4096")
        require(1 <= self.keep <= 10_000, "--keep", self.keep, "1 to 10000")
        for name in ("save_interval", "eval_interval"):
            value = getattr(self, name)
            require(value is None or value >= 1, flag(name), value, "at least 1 episode")
        require(0 <= self.worthwhile < 100, "--worthwhile", self.worthwhile, "0 to 100")
        require(0 <= self.permutations <= 100_000, "--permutations", self.permutations, "0 to 100000")
        alone = self.coordinator is None and self.num_processes in (None, 1)
        require(alone or not self.permutations, "--permutations", self.permutations, "0 where processes train together")
        require(self.save_seconds > 0, "--save-seconds", self.save_seconds, "a number above 0")
        require(not (self.resume and self.fresh), "--resume and --fresh", "both", "one of them")
        require(self.devices in (None, "all") or int(self.devices) >= 1, "--devices", self.devices, "1 or more, or all")
        self.check_processes()

    def check_processes(self) -> None:
        """Raises InputError where the flags of several processes do not fit each other."""
        count, place, where = self.num_processes, self.process_id, self.coordinator
        require(count is None or count >= 1, "--num-processes", count, "1 or more")
        if where is None or where == "auto":
            for name, value in (("--num-processes", None if count == 1 else count), ("--process-id", place)):
                require(value is None, name, value, "given beside --coordinator HOST:PORT")
            return
        require(
            re.fullmatch(r"[^\s:]+:\d+|\[[0-9A-Fa-f:]+\]:\d+", where) is not None,
            "--coordinator",
            where,
            "HOST:PORT or auto",
        )
        require(count is not None, "--coordinator", where, "given with --num-processes and --process-id")
        assert count is not None
        require(place is not None and 0 <= place < count, "--process-id", place, f"0 to {count - 1}")

    @property
    def address(self) -> str | None:
        """Address of a run in a bucket, gs://BUCKET/PREFIX; None for a folder of this machine."""
        if self.run_dir is not None:
            return self.run_dir.rstrip("/") if self.run_dir.startswith(SCHEME) else None
        return named_address(self.bucket_name, self.model_dir)


def check_ledger(name: str | None) -> None:
    """Raises InputError where `--ledger` names no place."""
    require(name != "", "--ledger", "''", "a folder, FILE.jsonl or gs://BUCKET/PREFIX")
    if name is not None and name.startswith(SCHEME):
        split_address(name)
