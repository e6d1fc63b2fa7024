"""Flags of `python -m train.bench_models`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from himari_jax.command import auto, flag, require, split_words
from himari_jax.errors import InputError

Model = Literal["base", "lstm", "multi"]
MODELS: dict[Model, tuple[str, ...]] = {
    "base": ("--policy", "mlp"),
    "lstm": ("--policy", "lstm"),
    "multi": ("--policy", "mlp"),
}
SYNTHETIC = ("--source", "synthetic", "--symbols", "SYN1", "SYN2", "SYN3")  # of multi without --data
# Flags of train.ppo that are set here, or with which what is measured would be something else.
TAKEN = (
    *("--policy", "--num-episodes", "--total-steps", "--device", "--data", "--symbols", "--source", "--env"),
    *("--run-dir", "--bucket-name", "--model-dir", "--ledger", "--resume", "--fresh", "--config", "--num-processes"),
)
MEASURING = ("models", "num_episodes", "data", "symbols", "flags", "repeats", "decisions", "device")


@dataclass(frozen=True)
class ModelsConfig:
    """Measure what the three models cost on this machine at the defaults of train.ppo: seconds, memory, milliseconds
    of a decision."""

    models: tuple[Model, ...] = ("base", "lstm", "multi")
    """base: mlp, one asset; lstm: 2 x 64, one asset; multi: mlp, three assets."""
    num_episodes: int = 1000
    """Episodes of a training, of 500 bars each."""
    data: Annotated[Path | None, auto("the embedded sample, for multi synthetic candles")] = None
    """Folder of candles, one file per symbol."""
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    """With --data: the symbols of multi; base and lstm take the first."""
    flags: str = ""
    """Flags of train.ppo for every model, as one word: --flags="--hidden-dim 256 --num-envs 1024"."""
    repeats: int = 3
    """Warm starts, of which the medians count; there is one cold start."""
    decisions: int = 2000
    """Decisions whose latency is measured."""
    price_per_hour: float | None = None
    """Price of the machine, US dollars an hour: adds the price of the command with a cold start."""
    out: Path | None = None
    """FILE.json that keeps what was measured; rows of other devices that are in it stay."""
    merge: tuple[Path, ...] = ()
    """Measure nothing: one table of these files, which --out wrote, and of --out where it exists."""
    estimate: Literal["t4"] | None = None
    """Measure nothing: what the models would take on that card, by counted work, calibrated on the rows of --merge."""
    markdown: bool = False
    """Print the tables as Markdown."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self):
        require(0 < len(self.models) == len(set(self.models)), "--models", " ".join(self.models), "named once each")
        for name, least in (("num_episodes", 1), ("repeats", 1), ("decisions", 100)):
            require(getattr(self, name) >= least, flag(name), getattr(self, name), f"{least} or more")
        price = self.price_per_hour
        require(price is None or 0 < price < float("inf"), "--price-per-hour", price, "a number above 0")
        two = len(self.symbols) >= 2 and len(set(self.symbols)) == len(self.symbols)
        require(two, "--symbols", " ".join(self.symbols), "two symbols or more, each once")
        given = self.given()
        if self.data is None and "symbols" in given:
            raise InputError("--symbols: belongs to --data, which is not given")
        if self.estimate and not self.merge:
            raise InputError(f"--estimate {self.estimate}: needs --merge FILE.json with rows of a GPU")
        if self.estimate:
            given = [name for name in given if name != "models"]
        if self.merge and given:
            raise InputError(f"{flag(given[0])} and --merge: --merge measures nothing; give one of them")
        for word in self.words:
            require(name_of(word) not in TAKEN, "--flags", name_of(word), "any other flag of train.ppo")

    def given(self) -> list[str]:
        """The fields that say what is measured and are not at their defaults."""
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in MEASURING if getattr(self, name) != defaults[name]]

    @property
    def words(self) -> list[str]:
        """The words of --flags."""
        return split_words("--flags", self.flags)

    def flags_of(self, model: Model) -> list[str]:
        """Flags of train.ppo of a model, all but its run folder."""
        several = model == "multi"
        if self.data is None:
            where: tuple[str, ...] = SYNTHETIC if several else ()
        else:
            where = ("--data", str(self.data), "--symbols", *(self.symbols if several else self.symbols[:1]))
        length = ("--num-episodes", str(self.num_episodes), "--device", self.device)
        return [*MODELS[model], *where, *length, *self.words]


def name_of(word: str) -> str:
    """The flag that a word names: --run_dir=x is --run-dir."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else word
