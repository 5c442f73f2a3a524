"""The processor's cores, which a run may have to share with other programs."""
