"""A run on disk and in processes: its folder, checkpoints, curves, progress, resume, loggers."""
