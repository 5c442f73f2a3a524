"""What a run needs and costs: devices, FLOPs, memory, micro-batches, a plan. Knows no Lightning."""
