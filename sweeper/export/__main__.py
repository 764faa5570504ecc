"""``python -m sweeper.export RUN --out FOLDER``: writes a run's model for other programs."""

import sys

from mdaf.sweeper.export.cli import main

if __name__ == "__main__":
    sys.exit(main())
