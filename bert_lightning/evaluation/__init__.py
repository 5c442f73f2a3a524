"""How good a model is, in numbers that can be compared, and what may be wrong with a run."""
