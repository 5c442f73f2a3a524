"""Probes of labelled data: of a model, of all checkpoints of a run, and while a run trains."""
