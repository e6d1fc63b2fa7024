"""Spellings of flags: whole numbers, names with commas between them, and what other programs call our flags."""

import re
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

REGISTRY = ConstructorRegistry()
WHOLE = re.compile(r"[+-]?\d+(_\d+)*")
POWER = re.compile(r"[+-]?\d+(\.\d+)?[eE]\+?\d{1,2}")  # two digits: more would be a number that no memory holds
# What is meant by a value of another program.
VALUES = {("--device", "gpu"): "cuda"}
# Flags that take names, none of which has a comma in it.
NAMES = (
    *("--symbols", "--features", "--reward", "--baselines", "--placebo", "--rows", "--permuted", "--only"),
    *("--algorithms", "--models", "--peers", "--repair"),
)
FEES = ("--commission-rate (0.001 is 0.1 %)", "--costs (basis points)")
# Flags as other programs call them (Stable-Baselines3, PureJaxRL, CleanRL, rejax, FinRL, backtesting engines), with
# what to write here; of several, the first that the command has.
ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--lr", "--learning-rate-init", "--step-size"), ("--learning-rate",)),
    **dict.fromkeys(("--anneal-lr", "--lr-final", "--lr-schedule"), ("--final-learning-rate",)),
    **dict.fromkeys(("--timesteps", "--total-timesteps", "--steps", "--max-steps"), ("--total-steps",)),
    **dict.fromkeys(("--n-timesteps", "--num-timesteps", "--num-steps-total"), ("--total-steps",)),
    **dict.fromkeys(("--episodes", "--n-episodes"), ("--num-episodes",)),
    **dict.fromkeys(("--episode-length", "--max-episode-steps"), ("--episode-steps",)),
    **dict.fromkeys(("--n-envs", "--envs", "--num-environments"), ("--num-envs",)),
    **dict.fromkeys(("--n-steps", "--num-steps", "--unroll-length", "--rollout-length"), ("--rollout-steps",)),
    **dict.fromkeys(("--epochs", "--n-epochs", "--num-epochs", "--ppo-epochs"), ("--update-epochs",)),
    **dict.fromkeys(("--n-minibatches", "--minibatches"), ("--num-minibatches",)),
    **dict.fromkeys(("--batch-size", "--minibatch-size"), ("--num-minibatches (how many, not how large)",)),
    **dict.fromkeys(("--clip-range", "--clip-coef", "--clip-param", "--clip", "--eps-clip"), ("--clip-eps",)),
    **dict.fromkeys(("--clip-range-vf", "--clip-vloss"), ("--clip-value",)),
    **dict.fromkeys(("--entropy-coef", "--ent-coeff", "--entropy-coeff", "--entropy"), ("--ent-coef",)),
    **dict.fromkeys(("--value-coef", "--vf-coeff", "--value-loss-coef"), ("--vf-coef",)),
    **dict.fromkeys(("--discount", "--discount-factor", "--discounting"), ("--gamma",)),
    **dict.fromkeys(("--lambda", "--lam", "--gae"), ("--gae-lambda",)),
    **dict.fromkeys(("--grad-clip", "--clip-norm", "--max-norm", "--gradient-clip"), ("--max-grad-norm",)),
    **dict.fromkeys(("--log-std-init", "--log-std"), ("--initial-log-std",)),
    **dict.fromkeys(("--hidden-size", "--hidden-dims", "--hidden", "--units"), ("--hidden-dim",)),
    **dict.fromkeys(("--net-arch", "--hidden-sizes"), ("--hidden-dim with --num-layers",)),
    **dict.fromkeys(("--layers", "--n-layers", "--depth"), ("--num-layers",)),
    **dict.fromkeys(("--lstm-hidden-size", "--lstm-units"), ("--lstm-hidden-dim",)),
    **dict.fromkeys(("--model", "--net", "--network", "--architecture", "--arch"), ("--policy",)),
    **dict.fromkeys(("--algo", "--agent"), ("--algorithm",)),
    **dict.fromkeys(("--n-seeds",), ("--num-seeds", "--seeds")),
    **dict.fromkeys(("--random-seed", "--random-state"), ("--seed",)),
    **dict.fromkeys(("--ticker", "--tickers", "--symbol", "--assets", "--pair", "--pairs"), ("--symbols",)),
    **dict.fromkeys(("--instrument", "--instruments", "--coins", "--coin", "--tic"), ("--symbols",)),
    **dict.fromkeys(("--file", "--csv", "--path", "--dataset", "--data-dir", "--data-path", "--input"), ("--data",)),
    **dict.fromkeys(("--timeframe", "--interval", "--freq", "--frequency", "--resolution"), ("--bar",)),
    **dict.fromkeys(("--train-split", "--test-split", "--val-split", "--cuts"), ("--split 0.6 0.8",)),
    **dict.fromkeys(("--start", "--end", "--start-date", "--end-date"), ("--span FROM:TO", "--split DATE DATE")),
    **dict.fromkeys(("--fee", "--fees", "--commission", "--commissions", "--cost", "--fee-rate"), FEES),
    **dict.fromkeys(("--transaction-cost", "--transaction-cost-pct", "--trading-cost"), FEES),
    **dict.fromkeys(("--buy-cost-pct", "--sell-cost-pct"), FEES),
    **dict.fromkeys(("--slippage", "--slip"), ("--slippage-bps (basis points)",)),
    **dict.fromkeys(("--max-position", "--max-weight", "--position-limit"), ("--max-position-pct (0.5 is 50 %)",)),
    **dict.fromkeys(("--leverage", "--max-leverage"), ("--max-gross",)),
    **dict.fromkeys(("--cash", "--capital", "--initial-cash", "--initial-amount", "--balance"), ("--initial-capital",)),
    **dict.fromkeys(("--indicators", "--features-list", "--inputs"), ("--features",)),
    **dict.fromkeys(("--reward-fn", "--reward-function"), ("--reward",)),
    **dict.fromkeys(("--benchmark", "--benchmarks"), ("--against", "--baselines")),
    **dict.fromkeys(("--output", "--output-dir", "--out-dir", "--save-dir"), ("--out", "--run-dir")),
    **dict.fromkeys(("--log-dir", "--logdir", "--save-path", "--checkpoint-dir", "--name"), ("--run-dir",)),
    **dict.fromkeys(("--continue", "--restore", "--resume-from", "--load"), ("--resume", "--run-dir")),
    **dict.fromkeys(("--eval-freq", "--eval-every"), ("--eval-interval",)),
    **dict.fromkeys(("--save-freq", "--save-every", "--checkpoint-every"), ("--save-interval",)),
    **dict.fromkeys(("--gpu", "--gpus", "--cuda", "--use-cuda"), ("--device cuda",)),
    **dict.fromkeys(("--cpu", "--no-cuda"), ("--device cpu",)),
    **dict.fromkeys(("--verbose", "--traceback"), ("--debug",)),
}


def whole_number(text: str) -> int:
    """An integer: 2000000, 2_000_000 or 2e6.

    Raises:
        ValueError: it is something else, such as 1.5, 2.0 (which may mean two thousand) or 2,000.
    """
    if WHOLE.fullmatch(text):
        return int(text)
    if POWER.fullmatch(text) and (value := Decimal(text)) == int(value):
        return int(value)
    raise ValueError(f"{text} is no whole number")


@REGISTRY.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Every flag that takes an integer reads it by `whole_number`."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def to_our_spelling(args: Sequence[str]) -> list[str]:
    """Words of a command line as the parser takes them: names apart that have commas between them, values of other
    programs as ours. A word with a slash is a path, and left as it is."""
    return list(_our_words(args))


def _our_words(args: Sequence[str]) -> Iterator[str]:
    flag = ""
    for word in args:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flag = flag.replace("_", "-")
            if equals and flag in NAMES and "," in value and "/" not in value:
                yield from (flag, *(name for name in value.split(",") if name))
            else:
                yield f"{flag}={VALUES[flag, value]}" if (flag, value) in VALUES else word
        elif flag in NAMES and "," in word and "/" not in word:
            yield from (name for name in word.split(",") if name)
        else:
            yield VALUES.get((flag, word), word)


def hint(word: str, flags: Collection[str]) -> str:
    """Suggests a flag for one that a command does not have, as the end of a sentence; empty where nothing is near.

    Args:
        word: the flag as given, without a value.
        flags: those of the command.
    """
    name = "--" + word.lstrip("-").replace("_", "-").lower()
    for words in (name, *ALIASES.get(name, ())):  # -gamma and --Gamma, too
        if words.split()[0] in flags:
            return f"it is {words} here"
    last = name.lstrip("-").rpartition(".")[2]
    ends = [flag for flag in flags if flag.lstrip("-").rpartition(".")[2] == last]
    near = ends if len(ends) == 1 else get_close_matches(name, sorted(flags), 2, 0.75)
    return f"did you mean {' or '.join(near)}?" if near else ""


def meant(name: str, names: Collection[str]) -> str:
    """Suggests a name for one that is not known, as the end of a message; empty where nothing is near."""
    near = get_close_matches(name.lower().replace("_", "-"), [known.replace("_", "-") for known in names], 1, 0.7)
    found = next((known for known in names if near and known.replace("_", "-") == near[0]), None)
    return f"; did you mean {found}?" if found else ""


def once_each(words: Collection[str], names: Collection[str]) -> str:
    """Words what a list of names must be, and which name was meant by the first word that is none."""
    wrong = next((word for word in words if word not in names), None)
    return f"named once each, out of {', '.join(names)}" + ("" if wrong is None else meant(wrong, names))
