"""The training loop: Lightning is known here and nowhere else."""
