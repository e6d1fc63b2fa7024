"""Reads files of candles of any vendor: what a file is, its tables, its columns, its times."""
