"""Runs that start other runs: a sweep and its trials, a study and its members."""
