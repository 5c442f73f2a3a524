"""Processes of a run that another program starts and places: Ray."""
