"""Length of the chunks of updates that training runs between two looks at signals."""

CHUNK_SECONDS = 1.0  # a signal waits for the end of a chunk


def next_size(size: int, updates: int, seconds: float) -> int:
    """Returns the updates of the next chunk: about `CHUNK_SECONDS`, at most twice as many as before.

    Args:
        size: updates that were wanted of the chunk before.
        updates: updates that took `seconds`.
        seconds: of the chunk before.
    """
    return max(1, min(2 * size, int(updates * CHUNK_SECONDS / max(seconds, 1e-3))))
