"""Live sources: candles from exchanges and CoinGecko, page by page; files that grow; a fake exchange."""
