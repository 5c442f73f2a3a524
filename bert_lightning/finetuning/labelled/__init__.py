"""Labelled examples: from files and the hub to splits whose labels are known."""
