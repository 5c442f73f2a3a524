"""The launcher that started this process as one of several, by the variables that it set."""

import os
from typing import TYPE_CHECKING

from bert_lightning.errors import UserError

if TYPE_CHECKING:
    from bert_lightning.sizing.devices import Devices  # with torch, slow to import

RANK_0 = "BERT_LIGHTNING_RANK_0"
"""Set by a run's first process for those that it starts itself: the number of its own process."""
RAY = "BERT_LIGHTNING_RAY"
"""Set in each worker of Ray: the type of its device, `cuda` or `cpu`."""
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK")
_INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs whose processes are not SLURM's tasks, as Lightning sees it too."""


def launcher() -> str | None:
    """Returns `Ray`, `torchrun`, `SLURM`, or `the environment` for variables set by hand.

    None stands for a process that was started alone, or by the first process of its run.
    """
    known = os.environ
    if RAY in known:
        return "Ray"
    if "TORCHELASTIC_RUN_ID" in known:
        return "torchrun"
    if "SLURM_NTASKS" in known and known.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        return "SLURM"
    addressed = {"MASTER_ADDR", "MASTER_PORT"} <= known.keys() and any(map(known.get, _RANKS))
    several = known.get("WORLD_SIZE", "1") != "1"
    return "the environment" if addressed and several and RANK_0 not in known else None


def check_launch(devices: "Devices") -> None:
    """Makes sure that as many processes are started as the options say, before any waits for one.

    Lightning asks only the launcher: with fewer processes, part of each batch would go unseen.

    Raises:
        UserError: nothing starts the other machines; or the launcher started another number.
    """
    if RANK_0 in os.environ:  # which checked it
        return
    match launcher():
        case "torchrun":
            _check_count("torchrun", devices, _number("WORLD_SIZE"), _number("LOCAL_WORLD_SIZE"))
        case "SLURM":
            _check_slurm(devices)
        case "the environment":
            _check_variables(devices)
        case None:
            _check_alone(devices)


def _check_slurm(devices: "Devices") -> None:
    tasks = _number("SLURM_NTASKS")
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UserError(
            f"SLURM gave this job {tasks} tasks, and srun did not start this process, so it would "
            "wait for the others: put srun before the command (docs/distributed.md), or set "
            "SLURM_JOB_NAME=interactive to have this run start processes on this machine itself"
        )
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UserError(
            f"SLURM started {tasks} processes, and does not say how many on a node: "
            "give --ntasks-per-node instead of --ntasks"
        )
    _check_count("SLURM", devices, tasks, _number("SLURM_NTASKS_PER_NODE", 1))


def _check_count(name: str, devices: "Devices", started: int, local: int) -> None:
    if (started, local) != (devices.world_size, devices.count):
        raise UserError(
            f"{name} started {started} processes, {local} on a node; trainer.num_nodes="
            f"{devices.num_nodes} and trainer.devices={devices.devices} are {devices.world_size}, "
            f"{devices.count} on a node: use trainer.num_nodes={started // local} "
            f"trainer.devices={local}"
        )


def _check_variables(devices: "Devices") -> None:
    """Checks what Lightning goes by: the number of the machine, and of the process on it."""
    options = f"trainer.num_nodes={devices.num_nodes} trainer.devices={devices.devices}"
    size = _number("WORLD_SIZE")
    if size != devices.world_size:
        raise UserError(
            f"WORLD_SIZE={size} in the environment, and {options} are {devices.world_size} "
            "processes: they must agree"
        )
    machine = _number("NODE_RANK", _number("GROUP_RANK", 0))
    rank = machine * devices.count + _number("LOCAL_RANK", 0)
    every_process = "LOCAL_RANK" in os.environ
    given = _number("RANK", rank if every_process else machine)
    if given != (rank if every_process else machine) or not 0 <= rank < devices.world_size:
        said = ", ".join(f"{name}={os.environ[name]}" for name in _RANKS if name in os.environ)
        raise UserError(
            f"{said} in the environment do not name one of the {size} processes of {options}: "
            "NODE_RANK is the number of the machine and LOCAL_RANK that of the process on it, both "
            "from 0; torchrun sets all of them (docs/distributed.md)"
        )


def _check_alone(devices: "Devices") -> None:
    nodes = devices.num_nodes
    if nodes > 1:
        slurm = " in a SLURM job of another name than bash or interactive"
        raise UserError(
            f"trainer.num_nodes={nodes}, and nothing started the processes of the other machines, "
            f"so this one would wait for them: on each machine, torchrun --nnodes={nodes} "
            f"--nproc_per_node={devices.count} --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 "
            "--rdzv_id=NAME train.py …; or once, srun --kill-on-bad-exit=1 python train.py …"
            f"{slurm if 'SLURM_JOB_ID' in os.environ else ''} (docs/distributed.md); or use "
            "trainer.num_nodes=1"
        )
    tasks = _number("SLURM_STEP_NUM_TASKS", 1)
    if tasks > 1:
        raise UserError(
            f"srun started {tasks} processes of a job that is named "
            f"{os.environ.get('SLURM_JOB_NAME')}, and each would train by itself: "
            "SLURM_JOB_NAME=bert srun … makes them one run; without srun, one process starts the "
            "others"
        )
    for name in (*_RANKS, "WORLD_SIZE"):
        expected = (1, devices.count) if name == "WORLD_SIZE" else (0,)
        waits = name == "LOCAL_RANK" and name in os.environ and devices.count > 1
        if _number(name, expected[0]) not in expected or waits:
            raise UserError(
                f"{name}={os.environ[name]} says that this process is one of several, but no "
                "launcher started it, as MASTER_ADDR, MASTER_PORT, WORLD_SIZE and a rank are not "
                f"all set. Train alone with: unset {name}; or start all processes with torchrun "
                "(docs/distributed.md)"
            )


def _number(name: str, default: int | None = None) -> int:
    """Returns the number that a variable holds; `default` where it is not set."""
    text = os.environ.get(name) or default
    try:
        return int(text if text is not None else "")
    except ValueError:
        raise UserError(
            f"{name}={os.environ.get(name, '')} in the environment must be a number, as launchers "
            f"set it: unset {name}, or start all processes with torchrun (docs/distributed.md)"
        ) from None
