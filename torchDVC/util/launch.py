"""Who started the processes of a run: a user, ``torchrun`` or Slurm's ``srun``."""

from __future__ import annotations

import os

from torchDVC.util.errors import ConfigError

_OF_TORCHRUN = {"RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "GROUP_RANK"}


def launcher() -> str:
    """``torchrun`` or ``srun`` where this is one of the processes that it started, else nothing.

    What a batch job of Slurm starts without ``srun`` is one process, whatever number of tasks the job is of: that is
    told by the variables of its step, which only ``srun`` sets.
    """
    if os.environ.keys() >= _OF_TORCHRUN:
        return "torchrun"
    return "srun" if _whole("SLURM_STEP_NUM_TASKS", 1) > 1 else ""


def first_process() -> bool:
    """Whether this process is the only one, or the first of those that a launcher or ``--gpu`` started."""
    rank = {"torchrun": "RANK", "srun": "SLURM_PROCID", "": "LOCAL_RANK"}[launcher()]
    return os.environ.get(rank, "0") == "0"


def processes() -> tuple[int, int]:
    """How many processes the launcher started on this machine, and on how many machines; 1 and 1 without one.

    Raises `ConfigError` where these are not as many on each.
    """
    if launcher() == "torchrun":
        here = _whole("LOCAL_WORLD_SIZE", 1)
        return here, _whole("WORLD_SIZE", here) // here
    if launcher() == "srun":
        tasks, machines = _whole("SLURM_STEP_NUM_TASKS", 1), _whole("SLURM_STEP_NUM_NODES", 1)
        if tasks % machines:
            raise ConfigError([f"srun with {tasks} tasks on {machines} machines; expected as many on each"])
        return tasks // machines, machines
    return 1, 1


def tasks_left_out() -> int:
    """Of how many tasks the batch job is that this process was started in, without ``srun``; 1 where it is of one."""
    return 1 if launcher() else _whole("SLURM_NTASKS", 1)


def _whole(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) else otherwise
