"""The sample shipped with the package: BTC-USD, real hourly candles from July 2017 to October 2019."""

from dataclasses import replace
from importlib.resources import files

from himari_jax.candles import RawCandles
from himari_jax.errors import InputError
from himari_jax.reading.names import plain
from himari_jax.sources.files import read_candles
from himari_jax.sources.request import SourceRequest

SYMBOL = "BTC-USD"
NOTE = "the vendor repeats the five candles 2017-11-11 23:00 to 2017-11-12 03:00 at 04:00 to 08:00; left as they are"


def load(request: SourceRequest) -> list[RawCandles]:
    """The 20,111 candles of BTC-USD, as the vendor published them.

    Raises:
        InputError: another symbol is asked for.
    """
    wanted = request.symbols or (SYMBOL,)
    other = [symbol for symbol in wanted if plain(symbol) != plain(SYMBOL)] + list(wanted[1:])
    if other:
        where = "--data FOLDER for your own candles, --source synthetic for made ones"
        raise InputError(f"--symbols {other[0]}: the sample has {SYMBOL} alone; allowed: {where}")
    name = f"{SYMBOL}.parquet"
    data = files("himari_jax").joinpath("data", name).read_bytes()
    raw = read_candles(data, ".parquet", wanted[0], f"sample {name}")
    return [replace(raw, notes=(*raw.notes, NOTE))]
