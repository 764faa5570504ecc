"""Whole pipelines, from a search to a verdict, simulated on landscapes."""
