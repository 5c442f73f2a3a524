"""Scores on labelled data: metrics, baselines, and runs beside each other."""
