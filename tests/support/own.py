"""Files of a user's own features, good and bad, that tests share."""

import numpy as np

GOOD = """
import numpy as np

LOOKBACK = "36h"


def features(candles):
    close = np.log(candles.close)
    far = np.full(close.shape, np.nan)
    far[36:] = close[36:] - close[:-36]
    return np.stack([far, np.log(candles.high / candles.low)], axis=-1), ("far", "range")
"""

# What is wrong, as a file with RETURN in place of what it returns, and the words of the line that refuses it.
RETURN = """
import sys
import numpy as np

def features(candles):
    x = np.log(candles.close / candles.open)
    close = candles.close
    return RETURN
"""
BAD = {
    "peeks a bar": ("np.roll(x, -1, 0)[..., None], ['a']", "knows later candles: a of SYN"),
    "peeks by scaling": ("(x / x.std(0))[..., None], ['a']", "knows later candles: a of SYN"),
    "peeks at the last bar": ("(x + 1e-9 * x[-1])[..., None], ['a']", "knows later candles"),
    "peeks at the length": ("(x + len(x))[..., None], ['a']", "are missing"),
    "peeks at the day": (
        "np.stack([close[min(len(close) - 1, t // 24 * 24 + 23)] / close[t] for t in range(len(close))])[..., None], "
        "['a']",
        "knows later candles",
    ),
    "looks back too far": ("(np.log(close) - np.log(close[0]))[..., None], ['a']", "older than its look-back of 400"),
    "nan in the decision rows": ("np.where(np.arange(len(x)) == 900, np.nan, x.T).T[..., None], ['a']", "is nan"),
    "infinite": ("(x / 0)[..., None], ['a']", "is inf"),
    "too large": ("(1e9 + x)[..., None], ['a']", "is 1e+09"),
    "one bar short": ("x[1:, :, None], ['a']", "of the shape (2999, 2, 1)"),
    "two axes": ("x, ['a']", "of the shape (3000, 2)"),
    "more names than values": ("x[..., None], ['a', 'b']", "of the shape (3000, 2, 1) for 2 names"),
    "no pair": ("x[..., None]", "must return (values, names)"),
    "texts": ("np.full((*x.shape, 1), 'x'), ['a']", "allowed: numbers"),
    "complex": ("x[..., None] + 1j, ['a']", "allowed: numbers"),
    "another time else": ("x[..., None] + np.random.default_rng().normal(), ['a']", "other values when called again"),
    "a name twice": ("np.stack([x, x], -1), ['a', 'a']", "names a twice"),
    "a name of base": ("x[..., None], ['rsi']", "rsi is a feature of base"),
    "a name of the account": ("x[..., None], ['position']", "position is a feature of the account"),
    "no names": ("x[..., None], 1", "gave the names 1"),
    "a name with a space": ("x[..., None], ['a b']", "gave the names ['a b']"),
    "no features at all": ("np.zeros((*x.shape, 0)), []", "gave the names []"),
    "raises": ("1 / 0", "features() failed: ZeroDivisionError: division by zero"),
    "leaves": ("sys.exit(0)", "features() failed: SystemExit: 0"),
    "writes to the candles": ("candles.close.sort()", "features() failed: ValueError"),
}
FILES = {
    "no function": ("x = 1", "needs a function features(candles)"),
    "no Python": ("def features(", "cannot be run: SyntaxError"),
    "fails at once": ("raise ValueError('no\\nsuch thing')", "cannot be run: ValueError: no"),
    "leaves at once": ("import sys\nsys.exit(3)", "cannot be run: SystemExit: 3"),
    "a look-back that is no duration": ("LOOKBACK = 90\n" + GOOD.replace('LOOKBACK = "36h"', ""), "LOOKBACK must be"),
    "a look-back that is computed": (
        "LOOKBACK = '9' + 'd'\n" + GOOD.replace('LOOKBACK = "36h"', ""),
        "LOOKBACK must be",
    ),
    "a look-back that is too short": (GOOD.replace("36h", "35h"), "after the 36 rows of its look-back (LOOKBACK)"),
}


def bad_files():
    """Text of each bad file and the words that refuse it, by what is wrong."""
    return {
        name: (RETURN.replace("return RETURN", f"return {code}"), says) for name, (code, says) in BAD.items()
    } | FILES


def bad_sizings():
    """Bad base sizings by their fault: the function, and words of the line that refuses it."""

    def peek(candles, rules):
        return np.where(np.roll(candles.close, -1, 0) > candles.close, 0.4, 0.1)

    def scaled(candles, rules):
        return np.minimum(0.1 * candles.close / candles.close.mean(0), 0.5)

    def weekly(candles, rules):
        return np.where(np.roll(candles.close, -168, 0) > candles.close, 0.4, 0.1)

    def long(candles, rules):
        return np.full(candles.close.shape, len(candles.time) / 1e5)

    def drawn(candles, rules):
        return np.random.default_rng().uniform(0, 0.5, candles.close.shape)

    def hole(candles, rules):
        return np.where(np.arange(len(candles.time))[:, None] == 900, np.nan, np.full(candles.close.shape, 0.1))

    def writes(candles, rules):
        candles.close.sort()
        return candles.close

    return {
        "peeks a bar": (peek, "knows later candles: the position of"),
        "peeks by scaling": (scaled, "knows later candles: the position of"),
        "peeks a week": (weekly, "knows later candles: the position of"),
        "peeks at the length": (long, "knows later candles: the position of"),
        "another time else": (drawn, "other positions when called again"),
        "one column": (lambda candles, rules: candles.close[:, 0] * 0, "float64 of shape (1500,); must be"),
        "one bar short": (lambda candles, rules: candles.close[1:] * 0, "(1499, 2); must be numbers in a numpy array"),
        "a number": (lambda candles, rules: 0.1, "returned float; must be"),
        "texts": (lambda candles, rules: np.full(candles.close.shape, "x"), "<U1 of shape (1500, 2)"),
        "negative": (lambda candles, rules: np.full(candles.close.shape, -0.1), "-0.1 for A at"),
        "not finite": (hole, "nan for A at"),
        "raises": (lambda candles, rules: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        "writes to the candles": (writes, "failed: ValueError"),
    }
