"""``python -m sweeper.predict RUN FILE --out SCORES``: scores rows with a trained model."""

import sys

from mdaf.sweeper.predict.cli import main

if __name__ == "__main__":
    sys.exit(main())
