"""From a model csv and trained weights to a model that codes real streams."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from torchDVC.bitstream.options import SourceOptions
from torchDVC.config import Process, TestConfig, load_run
from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.models.exactness import differences
from torchDVC.models.model_file import Model, fixed
from torchDVC.models.weights import build_codec, model_weights
from torchDVC.util.device import described
from torchDVC.util.errors import ConfigError, nearest

_log = logging.getLogger(__name__)


def export_model(options: SourceOptions) -> Model:
    """The model of a csv, with the weights of a checkpoint and the modes of a test cfg, fixed to integers.

    Raises `ConfigError` for problems of the files, where there are no trained weights, and naming each module that is
    not exact; `CheckpointError` for weights that are damaged or of another model.
    """
    assert options.model_config is not None
    run_config = options.run_config or f"{Path(options.model_config).stem}.cfg"
    config, tests = load_run(options.model_config, run_config, "test")
    process = _process(tests, options.process)
    codec = build_codec(config)
    if options.checkpoint is not None:
        weights = model_weights(options.checkpoint, averaged=options.ema)
        checkpoints.load_weights(codec, weights, str(options.checkpoint))
    else:
        _check_weights(codec)
    return _proven(fixed(codec, process), options.allow_inexact)


def _proven(model: Model, allow_inexact: bool) -> Model:
    """The model, where it is exact; else, if that is allowed, marked as one for this device only."""
    found = differences(model.codec, model.modes)
    if not found:
        return model
    if not allow_inexact:
        remedy = "expected exact integers wherever tables are chosen, or --allow_inexact"
        raise ConfigError([f"{difference}; {remedy}" for difference in found])
    for difference in found:
        _log.warning("%s; only this device can decode", difference)
    return replace(model, device=described(model.codec.lmdas.device))


def _process(tests: TestConfig, name: str | None) -> Process:
    """The process of a test cfg that has a name, else the first."""
    by_name = {process.name: process for process in tests.processes}
    if name is not None and name not in by_name:
        raise ConfigError([f"--process '{name}'; {tests.path.name} has none of that name{nearest(name, by_name)}"])
    return tests.processes[0] if name is None else by_name[name]


def _check_weights(codec: Codec) -> None:
    """Raises `ConfigError` where a module has weights to learn and its csv line names none that were."""
    modules = [spec for spec in codec.config.modules if spec.weights is None]
    untrained = [str(spec) for spec in modules if any(True for _ in codec.get_submodule(spec.name).parameters())]
    if untrained:
        raise ConfigError([f"--checkpoint is missing; expected trained weights for {', '.join(untrained)}"])
