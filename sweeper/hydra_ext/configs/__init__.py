"""The configs of jobs: where they come from, how they are composed fast, and the files that Hydra saves of them."""
