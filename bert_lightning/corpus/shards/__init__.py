"""A corpus in shards, in a folder at any URL: written part by part, read as a run needs it."""
