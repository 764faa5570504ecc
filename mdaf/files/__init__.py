"""Files that are written whole or not at all, and files of others that are checked before they are read."""
