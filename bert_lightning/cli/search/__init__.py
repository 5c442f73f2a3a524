"""A hyperparameter search: which values are tried, which trials continue, and what it found."""
