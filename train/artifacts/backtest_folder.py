"""Names the folder that a backtest writes to: one for each thing that is judged. Light: no jax."""

import hashlib
import re
from pathlib import Path, PurePath

from train.artifacts.run_folder import stored_config
from train.config.backtest import BacktestConfig
from train.config.market import DataConfig

LONGEST = 80  # letters of a name, its digest apart
OF_CANDLES = ("symbols", "source", "bar", "calendar")  # flags that say which candles, besides --data
ODD = re.compile(r"[^A-Za-z0-9+_.,=-]+")
SUFFIXES = (".py", ".parquet")  # of entries that are no runs


def output_folder(config: BacktestConfig) -> Path:
    """`--out`, or a folder that no backtest of something else writes to.

    A run on its own candles and its test span has `RUN/backtest`. What else is judged of it (other candles, another
    span, checkpoint or base, entries beside it) has `RUN/backtests/NAME`, where NAME says what, always the same for the
    same flags. Strategies alone have `backtests/STRATEGY`, or `backtests/STRATEGY_NAME`. How finely it is judged, by
    costs, delays and windows, is not in the name.

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
    return Path("backtests") / "_".join(filter(None, (first.stem, name)))


def differing(config: BacktestConfig, own: DataConfig | None) -> list[str]:
    """Words for what is judged beside a run on its own candles and its test span, in an order that does not vary.

    Args:
        config: flags.
        own: those of the run's candles; None: there is no run.
    """
    data, found = config.data, []
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
    return [*found, *(f"with={other}" for other in config.entries[1:])]


def joined(words: list[str]) -> str:
    """Words as the name of a folder; where letters of them are lost, a digest tells it from others."""
    short = [plain(word) for word in words]
    name = "_".join(each for each, _ in short)
    if all(whole for _, whole in short) and len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}_{hashlib.sha256(repr(words).encode()).hexdigest()[:6]}"


def plain(word: str) -> tuple[str, bool]:
    """A word without letters that a name of a folder had better not have, and whether it still says everything."""
    head, equals, value = word.rpartition("=")
    shown = PurePath(value.replace(":", "..")).name
    text = ODD.sub("_", shown)
    return f"{head}{equals}{text}", text == value.replace(":", "..").removesuffix("/") and "_" not in text
