"""The command line: Hydra's composition, its error messages, and the commands."""
