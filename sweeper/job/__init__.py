"""One run from its config to its result, alone or in lock-step with others. ``run.run`` is what a sweep calls."""
