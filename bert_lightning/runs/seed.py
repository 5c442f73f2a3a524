"""The seed of a run without one: drawn once, and the same in all its processes."""

import hashlib
import os
import secrets
from dataclasses import replace

from bert_lightning.config import AnyConfig
from bert_lightning.runs.launched import is_first_process, launched_externally
from bert_lightning.runs.resume import ResumePoint

_DRAWN = "BERT_LIGHTNING_SEED"
"""Processes that Lightning starts inherit it."""
_SHARED = (
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"),
    *("SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
)
"""Variables that are equal in all processes of one launch by torchrun or SLURM, and in no other."""


def with_seed(config: AnyConfig, resumed: ResumePoint | None) -> AnyConfig:
    """Returns the config with a seed: for `seed=null` that of the checkpoint, or a new one."""
    if config.seed is not None:
        return config
    if resumed is not None:
        return replace(config, seed=resumed.about["config"]["seed"])
    if launched_externally():
        shared = "\n".join(os.environ.get(name, "") for name in _SHARED)
        return replace(config, seed=int(hashlib.sha256(shared.encode()).hexdigest()[:8], 16))
    if not is_first_process():
        return replace(config, seed=int(os.environ[_DRAWN]))
    drawn = secrets.randbits(32)
    os.environ[_DRAWN] = str(drawn)
    return replace(config, seed=drawn)
