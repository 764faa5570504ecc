"""Prepares a store from a raw log: splits, samples, negatives, vocabularies, and a check for leakage.

``prepare.prepare`` runs it for a source; the sources (``data/*.py``) use the other modules.
"""
