"""Points of a search: the space that they are in, which trials have the same one, what a race proposes."""
