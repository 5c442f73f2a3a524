"""Training examples from shards, of which a few are open at a time."""
