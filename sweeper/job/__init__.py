"""One run from its config to its result, alone or in lock-step with others."""
