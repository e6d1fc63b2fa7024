"""Training on markets with a known optimum, and how near it comes."""
