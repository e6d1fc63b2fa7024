"""The command `himari`: `himari train ...` is `python -m train.ppo ...`. Light: imports what the named command needs.

Unlike `python -m`, it never looks for modules in the working directory, so that a `train.py` there disturbs nothing.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from himari_jax import __version__

HOME = Path(__file__).resolve().parent.parent  # the folder of our packages


class Command(NamedTuple):
    """A command of the project."""

    module: str  # whose `main` it is
    summary: str


GROUPS: dict[str, dict[str, Command]] = {
    "Get candles": {
        "download": Command("train.download", "candles of an exchange or of CoinGecko, into a folder for --data"),
    },
    "Train": {
        "train": Command("train.ppo", "train a policy and test it on candles it never saw"),
        "walk-forward": Command("train.walk_forward", "retrain before each test block, evaluate all as one track"),
        "sweep": Command("train.sweep", "many configurations, one choice, one look at the test span"),
        "evidence": Command("train.evidence", "walk-forward tests on many daily coins, in one table"),
        "submit": Command("train.submit", "a training as a job of Vertex AI"),
    },
    "Evaluate": {
        "backtest": Command("train.backtest", "runs and strategies over windows, costs and delays"),
        "compare": Command("train.compare", "a run against another or a baseline, with gates"),
        "report": Command("train.report", "the page of a run, report.html, anew"),
        "plan": Command("train.plan", "how long paper trading must run to confirm or refute a run"),
        "trials": Command("train.trials", "what was ever tried, and what it costs a result"),
    },
    "Serve": {
        "bundle": Command("export.bundle", "a run as a folder that a server can load without jax"),
        "check": Command("export.check", "load a bundle as a server would, and verify it"),
        "request": Command("export.request", "candles and an account as a request for the server"),
        "serve": Command("export.server", "answer with a bundle over HTTP"),
        "paper": Command("export.paper", "decide at every close, on paper, with a log"),
        "replay": Command("export.replay", "play a decision log again: parity, the gap, the verdict"),
        "monitoring": Command("export.monitoring", "dashboard and alerts for Google's Cloud Monitoring"),
    },
    "Measure": {
        "doctor": Command("train.doctor", "is it well here? versions, laws, speed, what to do"),
        "prove": Command("train.prove", "does it learn? markets with a known optimum"),
        "calibrate": Command("train.calibrate", "do the statistics of the verdict hold what they promise?"),
        "bench": Command("train.bench", "steps per second, bars per second"),
        "bench-gpu": Command("train.bench_gpu", "all that a GPU does, in five minutes"),
        "bench-models": Command("train.bench_models", "time, memory and latency of the three models"),
        "bench-peers": Command("train.bench_peers", "beside rejax and stable-baselines3"),
        "bench-serve": Command("export.bench", "latency and rate of the server"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
# What other programs call our commands.
ALIASES = {
    **dict.fromkeys(("ppo", "fit", "learn", "run", "start"), "train"),
    **dict.fromkeys(("fetch", "candles", "data", "ohlcv"), "download"),
    **dict.fromkeys(("eval", "evaluate", "test", "simulate"), "backtest"),
    **dict.fromkeys(("diff", "gate", "gates"), "compare"),
    **dict.fromkeys(("plot", "show", "html"), "report"),
    **dict.fromkeys(("ledger", "list"), "trials"),
    **dict.fromkeys(("walkforward", "wf"), "walk-forward"),
    **dict.fromkeys(("tune", "optimize", "search", "hpo", "grid"), "sweep"),
    **dict.fromkeys(("export", "package", "onnx"), "bundle"),
    **dict.fromkeys(("verify", "validate"), "check"),
    **dict.fromkeys(("server", "deploy"), "serve"),
    **dict.fromkeys(("predict", "ask", "payload"), "request"),
    **dict.fromkeys(("benchmark", "speed"), "bench"),
    **dict.fromkeys(("diagnose", "selftest", "info"), "doctor"),
}


def invocation(module: str) -> str:
    """Returns how to run a command, in the words of this process: `himari train` or `python -m train.ppo`.

    Args:
        module: of the command.
    """
    names = [name for name, command in COMMANDS.items() if command.module == module]
    return f"{program()} {names[0]}" if names and program() else f"python -m {module}"


def program() -> str:
    """`himari` or `python -m himari_jax` where that was run; empty for `python -m` of a command and for a library."""
    script = Path((sys.argv or [""])[0])
    if script.stem == "himari":
        return "himari"
    return "python -m himari_jax" if script.parts[-2:] == ("himari_jax", "__main__.py") else ""


def main() -> int:
    """Runs the command that the first word names; returns the exit code."""
    look_elsewhere()
    return dispatch(sys.argv[1:])


def look_elsewhere() -> None:
    """Takes the working directory out of the module search path, here and in child processes, unless it is ours."""
    here = Path.cwd().resolve()
    if here == HOME:
        return
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:1] = [path for path in sys.path[:1] if Path(path).resolve() != here]


def dispatch(words: Sequence[str]) -> int:
    """Runs a command; without one, lists them.

    Args:
        words: the command and its flags.
    """
    name, *args = words or ["--help"]
    if name == "help" and args and args[0] in COMMANDS:
        name, args = args[0], ["--help"]
    if name in ("--help", "-h", "help"):
        print(listing())
        return 0
    if name in ("--version", "-V"):
        print(f"himari {__version__}")
        return 0
    from himari_jax.command import run_command

    return run_command(lambda flags: load(name).main(flags), args)


def listing() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"usage: {program() or 'himari'} COMMAND [FLAGS]", ""]
    for title, group in GROUPS.items():
        lines.append(f"{title}:")
        lines += [f"  {name:{width}}{command.summary}" for name, command in group.items()]
    return "\n".join([*lines, "", f"{program() or 'himari'} COMMAND --help lists the flags of a command; --version"])


def load(name: str) -> Any:
    """The module of a command.

    Raises:
        InputError: there is no such command, or its package is not installed, or is hidden by another one.
    """
    from himari_jax.errors import InputError
    from himari_jax.extras import missing

    if name not in COMMANDS:
        raise InputError(f"{name}: no such command{suggestion(name)}; see {program() or 'himari'} --help")
    module = COMMANDS[name].module
    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise InputError(f"{name}: {missing(package)}")
    if HOME / package not in [Path(folder).resolve() for folder in spec.submodule_search_locations or ()]:
        raise InputError(f"{name}: {spec.origin} hides our package {package}; take its folder out of PYTHONPATH")
    return importlib.import_module(module)


def suggestion(name: str) -> str:
    """Suggests a command for an unknown name, as the end of a sentence; empty where none is near."""
    modules = {command.module: other for other, command in COMMANDS.items()}
    lowered = name.lower().replace("_", "-")
    known = {**ALIASES, **modules, **{other: other for other in COMMANDS}}
    found = known.get(name) or known.get(lowered)
    found = found or next((known[near] for near in get_close_matches(lowered, known, 1, 0.7)), None)
    return f"; did you mean {found}?" if found else ""
