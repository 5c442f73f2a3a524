"""A run on disk and in processes: its folder, checkpoint files, progress, resume, loggers."""
