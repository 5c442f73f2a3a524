"""Checks of a run, by what they look at."""
