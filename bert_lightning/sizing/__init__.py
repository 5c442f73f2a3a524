"""The devices, FLOPs, memory and micro-batches of a run, and its plan; without Lightning."""
