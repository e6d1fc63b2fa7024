"""A walk-forward test: retrained before each block, one account through all of them."""
