"""Study databases: opens them, waits for them while they are away, reads them fast, and copies them.

Start at ``opening.open_storage``. Studies and trials are written through Optuna's own interface.
"""
