"""``python -m sweeper.study``: asks a study database."""

from mdaf.sweeper.study.cli import main

main()
