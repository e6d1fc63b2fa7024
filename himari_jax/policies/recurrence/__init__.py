"""Forms of the LSTM's recurrence over time, with resets: the same values and gradients, each the fastest somewhere."""
