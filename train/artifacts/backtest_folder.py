"""Names the folder that a backtest writes to: one for each subject of evaluation. Light: no jax."""

import hashlib
import re
from pathlib import Path, PurePath

from train.artifacts.run_folder import stored_config
from train.config.backtest import BacktestConfig
from train.config.market import DataConfig

LONGEST = 80  # letters of a name, its digest apart
OF_CANDLES = ("symbols", "source", "bar", "calendar")  # flags of the candles, besides --data
BETWEEN = ","  # words of a name
ODD = re.compile(r"[^A-Za-z0-9+_.=-]+")
SUFFIXES = (".py", ".parquet")  # of entries that are no runs
EQUITY = "equity.parquet"  # as runs and backtests write it


def output_folder(config: BacktestConfig) -> Path:
    """Returns `--out`, or a folder that no backtest of another subject writes to.

    A run on its own candles and its test span has `RUN/backtest`. With other candles, another span, checkpoint or base,
    or entries beside it, it has `RUN/backtests/NAME`, where NAME is made of those flags. Strategies alone have
    `backtests/STRATEGY`, or `backtests/STRATEGY,NAME`. Costs, delays and windows are not in the name.

    Args:
        config: flags, with the local folders of runs.
    """
    if config.out is not None:
        return Path(config.out)
    first = Path(config.entries[0])
    is_run = first.suffix not in SUFFIXES
    has_flags = is_run and (first / "config.json").is_file()
    name = joined(differing(config, stored_config(first).data if has_flags else None))
    if is_run:
        return first / "backtests" / name if name else first / "backtest"
    return Path("backtests") / BETWEEN.join(filter(None, (weights_name(first), name)))


def differing(config: BacktestConfig, own: DataConfig | None) -> list[str]:
    """Lists words for the flags that differ from a run on its own candles and its test span, in a fixed order.

    Args:
        config: flags.
        own: flags of the run's candles; None: there is no run.
    """
    data = config.data
    found: list[str] = []
    if data.data and (own is None or data.data != own.data):
        found += data.data
    for name in OF_CANDLES:
        value = getattr(data, name)
        usual = None if own is None else own.chosen_source if name == "source" else getattr(own, name)
        if value not in (None, (), usual):
            found += [value] if isinstance(value, str) else list(value)
    if data.base_positions:
        found.append(f"base={data.base_positions}")
    if data.span != "test":
        found.append(data.span)
    if config.grid.checkpoint != "best":
        found.append(f"checkpoint={config.grid.checkpoint}")
    first, *others = (Path(entry) for entry in config.entries)
    return [*found, *(f"with={beside(first, other)}" for other in others)]


def beside(first: Path, other: Path) -> str:
    """Names an entry beside the first one: by the name of a run in the same folder, else the whole path."""
    if other.name == EQUITY and other.parent.parent == first.parent:
        return f"{weights_name(other)}{other.suffix}"
    if other.suffix in SUFFIXES:
        return str(other)
    return other.name if other.parent == first.parent else f"./{other}"


def weights_name(path: Path) -> str:
    """Names a rule or a file of weights after its file, an equity.parquet after its run."""
    if path.name != EQUITY:
        return path.stem
    folder = path.absolute().parent
    names = [folder.name, path.stem]
    if folder.name == "backtest":
        names.insert(0, folder.parent.name)
    elif folder.parent.name == "backtests":
        names.insert(0, folder.parent.parent.name)
    return "-".join(names)


def joined(words: list[str]) -> str:
    """Joins words to the name of a folder; where letters are lost, a digest keeps it distinct."""
    short = [plain(word) for word in words]
    name = BETWEEN.join(each for each, _ in short)
    if all(whole for _, whole in short) and len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}{BETWEEN}{hashlib.sha256(repr(words).encode()).hexdigest()[:6]}"


def plain(word: str) -> tuple[str, bool]:
    """Replaces letters that do not belong in the name of a folder; also returns whether nothing was lost."""
    head, equals, value = word.rpartition("=")
    shown = PurePath(value.replace(":", "..")).name
    text = ODD.sub("_", shown)
    return f"{head}{equals}{text}", text == value.replace(":", "..").removesuffix("/")
