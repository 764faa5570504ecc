"""Where Hydra 1.3 finds the sweeper, since it looks for plugins in this namespace alone.

Hydra 1.4 finds the sweeper by its entry point, and nothing here.
``hydra_plugins`` is a namespace of many distributions, so there is no ``__init__.py`` in it.
"""

from mdaf.hydra_internals import CHECKS_TARGETS

if not CHECKS_TARGETS:
    from mdaf.sweeper.search.plugin import RegularizationSweeper

    class Study(RegularizationSweeper):
        """``hydra/sweeper=study``: Hydra 1.3 refuses a class outside of ``hydra_plugins``."""
