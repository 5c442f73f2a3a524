"""Optimizers, schedules, time budgets and the moving average of the weights, in plain PyTorch."""
