"""The live page of a study database: read-only, on this machine alone, without a build step or a network."""
