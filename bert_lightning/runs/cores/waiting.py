"""How OpenMP's threads wait for each other, which torch's operations on CPU are divided among."""

import os
import sys

SPIN_COUNT, _WAIT_POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
"""What libgomp reads in the environment when it is loaded; torch brings it on Linux."""
SPINS = 300
"""How often a thread that waits looks before it sleeps, where the machine is busy: for less than a
tenth of a millisecond."""
BUSY = 0.75
"""The load of a busy machine: programs that computed in the last minute, for each core."""


def wait_briefly_if_busy() -> None:
    """Lets a thread that waits for another one sleep soon, and so give its core to others.

    libgomp's threads look 300,000 times by default, some 20 ms. On a busy machine the awaited
    thread may wait for the very core on which another one looks, and beside another training a step
    took three to six times as long; on a quiet one, threads that sleep soon cost a tenth to a fifth
    of the speed (`benchmarks/contention.json`). This works before torch is loaded, for this process
    and those it starts. What the environment says already remains.
    """
    if sys.platform == "linux" and "torch" not in sys.modules and not _is_set() and _is_busy():
        os.environ[SPIN_COUNT] = str(SPINS)


def waits_long() -> bool:
    """Returns whether threads wait by libgomp's own rule."""
    return sys.platform == "linux" and not _is_set()


def _is_set() -> bool:
    return SPIN_COUNT in os.environ or _WAIT_POLICY in os.environ


def _is_busy() -> bool:
    return os.getloadavg()[0] >= BUSY * (os.cpu_count() or 1)
