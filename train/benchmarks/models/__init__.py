"""What the three models cost: time, memory and latency, by device."""
