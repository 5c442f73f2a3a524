"""The preparation of a text: what does the work, and how many workers."""

from dataclasses import dataclass
from enum import Enum

from bert_lightning.config.affects import EXECUTION, check_limits, option


class PrepareExecutor(Enum):
    """What runs the workers of a preparation."""

    processes = "processes"
    dask = "dask"
    ray = "ray"
    submitit = "submitit"


@dataclass
class PrepareConfig:
    """The workers that prepare a text; whatever they are, the prepared corpus is the same."""

    executor: PrepareExecutor = option(PrepareExecutor.processes, EXECUTION)
    """What runs the workers: `processes` of this machine, or a cluster that sees the same files.
    `dask` finds it by DASK_SCHEDULER_ADDRESS, `ray` by RAY_ADDRESS, `submitit` where there is
    SLURM; without one of these they start workers on this machine."""
    workers: int | None = option(None, EXECUTION, at_least=1)
    """How many workers; 1 works in the process of the run. Null is one a core with `processes`, but
    1 for texts below 50 MB; with `submitit` 16 jobs; with the others what the cluster offers."""

    def __post_init__(self) -> None:
        check_limits(self, "data.prepare.")
