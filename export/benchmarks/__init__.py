"""Tools of `python -m export.bench`: a second server for comparison, and resource use of processes."""
