"""The known leak: at row t it holds the sign of the return that bar t + 1 is about to make, long or flat.

No audit may let it pass; one bar later it knows nothing that it should not.
"""

import numpy as np


def weights(market, candles):
    """All of equity, evenly, in what will rise over the next bar; (T, N)."""
    close = candles.close
    ahead = np.zeros_like(close)
    ahead[:-1] = close[1:] / close[:-1] - 1
    return (ahead > 0) / close.shape[1]
