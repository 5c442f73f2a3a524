"""How OpenMP's threads wait for each other, which torch's operations on CPU are divided among."""

import os
import sys

SPIN_COUNT, _WAIT_POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
"""What libgomp reads in the environment when it is loaded; torch brings it on Linux."""
SPINS = 1000
"""How often a waiting thread looks before it sleeps: less than a tenth of a millisecond, and what
libgomp itself takes where a program has more threads than cores."""


def wait_briefly() -> None:
    """Lets a thread that waits for another one sleep soon, and so give its core to others.

    libgomp's threads look 300,000 times by default, some 20 ms. On a busy machine the awaited
    thread may wait for the very core on which another one looks: a training step then takes ten
    times as long. This works before torch is loaded, for this process and those it starts. What
    the environment says already remains.
    """
    if sys.platform == "linux" and "torch" not in sys.modules and not _is_set():
        os.environ[SPIN_COUNT] = str(SPINS)


def waits_long() -> bool:
    """Returns whether threads wait by libgomp's own rule, because torch was loaded too early."""
    return sys.platform == "linux" and not _is_set()


def _is_set() -> bool:
    return SPIN_COUNT in os.environ or _WAIT_POLICY in os.environ
