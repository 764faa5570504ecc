"""Layers of which the models are built. Axis 0 of all parameters and inputs is the replica."""
