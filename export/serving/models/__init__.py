"""The served model: candidates are verified beside it, then swapped in."""
