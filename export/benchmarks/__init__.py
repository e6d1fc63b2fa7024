"""What `python -m export.bench` measures with: a server beside ours, and what processes take."""
