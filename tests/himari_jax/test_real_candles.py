"""Findings of `check_candles` in real candles."""

from himari_jax.checking.candles import check_candles
from himari_jax.sources.registry import load_candles
from himari_jax.sources.request import SourceRequest


def test_five_real_markets_have_twelve_filled_hours_and_three_segments(data_folder):
    folder = data_folder / "spot"
    symbols = ("BTC-USD", "ETHUSDT", "SOL-USD", "BNB-USD", "XRP-USD")
    candles, report = check_candles(load_candles("files", SourceRequest(symbols, (str(folder),))))
    # 20 hours are missing in 10 events: 4 + 4 of them in the two long gaps, 12 in the eight short ones
    assert candles.close.shape == (43_803 + 12, 5)
    assert candles.segment[-1] == 2
    assert (~candles.tradable).sum(0).tolist() == [12] * 5
    assert {entry["count"] for entry in report.entries if entry["kind"] == "split"} == {2}
