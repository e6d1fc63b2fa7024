"""Checks candles: what is mended, dropped or refused; grids, calendars and alignment."""
