"""`python -m himari_jax train ...`: the command `himari`, where no script of that name is installed."""

import sys

from himari_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
