"""Many runs of one thing: seed replication, Phase 4 and what it supports."""
