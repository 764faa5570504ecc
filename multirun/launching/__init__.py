"""Launchers that train several jobs of one launch together, and the table of a grid."""
