"""How sure an accuracy is."""

from math import sqrt

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """Returns the 95 % interval of an accuracy (Wilson, 1927).

    It stays within 0 and 1, also for few examples or where all are right.
    """
    accuracy = correct / total
    middle = accuracy + Z**2 / (2 * total)
    half = Z * sqrt(accuracy * (1 - accuracy) / total + Z**2 / (4 * total**2))
    scale = 1 + Z**2 / total
    return (middle - half) / scale, (middle + half) / scale
