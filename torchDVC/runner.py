"""Runner: what training and testing share; builds a codec from configuration and puts it on a device."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn

from torchDVC.config import ModelConfig, Modes
from torchDVC.config.modes import unknown_codes
from torchDVC.config.run_flags import RunOptions
from torchDVC.models import checkpoints
from torchDVC.models.codec import evaluating
from torchDVC.models.weights import build_codec, model_weights
from torchDVC.util.device import resolve_precision
from torchDVC.util.errors import ConfigError
from torchDVC.util.launch import launcher, processes, tasks_left_out

if TYPE_CHECKING:
    from torchDVC.results.complexity import ModuleComplexity

_log = logging.getLogger(__name__)


class SrunEnvironment(SLURMEnvironment):
    """Fabric's, for every way to ask ``srun`` for its tasks."""

    def __init__(self) -> None:
        self.auto_requeue, self.requeue_signal = False, None

    def world_size(self) -> int:
        return int(os.environ["SLURM_STEP_NUM_TASKS"])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """They are the step's own."""


ENVIRONMENTS: dict[str, Callable[[], ClusterEnvironment]] = {
    "torchrun": TorchElasticEnvironment,
    "srun": SrunEnvironment,
    "": LightningEnvironment,
}
"""What Fabric is told of the processes, by who started them."""


class Runner:
    """A codec on its device, with the options it runs under.

    Args:
        options: the command line.
        model: the model csv.
        modes: every stage or process that will run; their intra modes tell which modules ``--not_load_I`` leaves out.
    """

    parallel = False
    """Whether several devices can share the work."""

    def __init__(self, options: RunOptions, model: ModelConfig, modes: Sequence[Modes]) -> None:
        self.options, self.model, self.modes = options, model, modes
        self.fabric = self._fabric()
        self.fabric.seed_everything(options.seed, verbose=False)
        self.codec = build_codec(model)
        if options.restore == "load" and options.checkpoint is not None:
            self._load(options.checkpoint)
        self.codec.to(self.device)
        if options.compile:
            compile_networks(self.codec)

    def _fabric(self) -> Fabric:
        if self.parallel:
            return make_fabric(self.options.device, self.options.gpu)
        if self.options.gpu > 1:
            _log.warning("--gpu %d: a test runs on one device", self.options.gpu)
        fabric = make_fabric(self.options.device, 1)
        if fabric.world_size > 1:
            count = f"{launcher()} with {fabric.world_size} processes"
            raise ConfigError([f"{count}; a test is of one, start it with python"])
        return fabric

    @property
    def device(self) -> torch.device:
        """Where the codec is."""
        return self.fabric.device

    def precision(self, configured: str) -> str:
        """``32``, ``bf16-mixed`` or ``16-mixed``: the flag's, else what a cfg says, resolved for the device."""
        return resolve_precision(self.options.precision or configured, self.device)

    def note_complexity(self, folder: Path, modes: Modes) -> list[ModuleComplexity]:
        """Write what every module that these modes run costs to ``complexity.csv``; with ``--print_model`` print it."""
        from torchDVC.results import complexity

        with evaluating(self.codec):
            rows = complexity.measure(self.codec, modes)
        complexity.write(folder / "complexity.csv", rows)
        if self.options.print_model:
            self.fabric.print(complexity.table(rows))
        return rows

    def _load(self, path: Path) -> None:
        """Take the weights of a checkpoint, all of them, or all but the intra codec's."""
        tensors = model_weights(path, averaged=self.options.ema)
        if self.options.not_load_I:
            intra = {spec.name for modes in self.modes for spec in self.model.of_codes(modes.imode)}
            own = self.codec.state_dict()
            tensors = {name: own[name] if name.split(".")[0] in intra else x for name, x in tensors.items()}
            tensors |= {name: x for name, x in own.items() if name.split(".")[0] in intra}
        checkpoints.load_weights(self.codec, self._with_new_modules(tensors), str(path))

    def _with_new_modules(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The tensors with the present ones of ``--new_modules``, as far as there are none of them."""
        problems = unknown_codes(self.options.new_modules, self.model)
        if problems:
            raise ConfigError([f"--new_modules {self.options.new_modules}: {problem}" for problem in problems])
        new = {spec.name for spec in self.model.of_codes(self.options.new_modules)}
        own = {name: x for name, x in self.codec.state_dict().items() if name.split(".")[0] in new}
        return {**own, **tensors}


def make_fabric(device: str, count: int) -> Fabric:
    """A launched Fabric on ``auto``, ``cpu`` or ``cuda``; more than one device runs distributed data parallel.

    Under ``torchrun`` and ``srun`` it is that of one of the processes which these have started, each with a device of
    its own. Asking for several GPUs on a machine without one is said once, and runs on the CPU. Raises `ConfigError`
    where ``cuda`` is asked for and there is none, more GPUs than there are, or other ones than there are processes for.
    """
    available = torch.cuda.device_count()
    if device == "cuda" and not available:
        raise ConfigError(["--device cuda: no CUDA device here; expected auto or cpu"])
    accelerator = "cuda" if available and device != "cpu" else "cpu"
    devices, nodes = count, 1
    if launcher():
        devices, nodes = processes()
        if count not in (1, devices):
            raise ConfigError([f"--gpu {count} under {launcher()}; expected as many as its processes here, {devices}"])
    elif tasks_left_out() > 1:
        _log.warning("one process, of a Slurm job of %d tasks; srun starts one for each", tasks_left_out())
    if accelerator == "cpu" and count > 1 and not launcher():
        _log.warning("--gpu %d: no GPU here, running on the CPU", count)
        devices = 1
    if accelerator == "cuda" and devices > available:
        raise ConfigError([f"--gpu {devices}: this machine has {available}; expected at most that many"])
    strategy = DDPStrategy(find_unused_parameters=True) if devices * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy,
        plugins=ENVIRONMENTS[launcher()](),
    )  # fmt: skip
    fabric.launch()
    return fabric


def compile_networks(codec: nn.Module) -> None:
    """Compile every plain stack of layers (``torch.compile``); what decides symbols stays as it is."""
    for module in codec.modules():
        if isinstance(module, nn.Sequential):
            module.compile()
