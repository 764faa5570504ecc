"""The Hydra tree: what can be chosen. YAML and structured schemas, no logic."""
