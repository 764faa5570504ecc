"""Layers that the models are made of, each with the replica axis first."""
