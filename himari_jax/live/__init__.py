"""Live sources: candles from exchanges and CoinGecko, page by page; files that grow; a poller; a fake exchange."""
