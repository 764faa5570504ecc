"""``python -m sweeper`` where the package ``mdaf.model`` has one more folder, as if its files had been copied there."""

import sys

import mdaf.model
from mdaf.sweeper.__main__ import main

mdaf.model.__path__.append(sys.argv.pop(1))
main()
