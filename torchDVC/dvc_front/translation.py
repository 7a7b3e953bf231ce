"""From flags, yml and json files to what the engine runs: module table, stages, test process and its own options."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchDVC.config import ModelConfig, Process, TestConfig, TrainConfig
from torchDVC.config.command_line import TestOptions, TrainOptions
from torchDVC.config.problems import Report, Where
from torchDVC.config.scan import scan
from torchDVC.config.stage_checks import check_process
from torchDVC.dvc_front.coders import compensator, estimator, read_coder, zoo_intra
from torchDVC.dvc_front.options import NAME, DVCOptions, parse
from torchDVC.dvc_front.phases import MODES, read_phases
from torchDVC.util.errors import ConfigError

MODEL_FILE, TRAIN_FILE, TEST_FILE = f"{NAME}.csv", "train.cfg", "test.cfg"
"""What the files would be called that say the same to ``trainer.py`` and ``tester.py``."""


@dataclass(frozen=True)
class Translation:
    """What a DVC command line amounts to; ``train`` is None without ``--train_conf``."""

    model: ModelConfig
    train: TrainConfig | None
    test: TestConfig


@dataclass(frozen=True)
class Sources:
    """Where a codec and its training are described; None where that is not known."""

    MENet: str | None = None
    motion_coder_conf: Path | None = None
    residual_coder_conf: Path | None = None
    intra_coder_conf: Path | None = None
    train_conf: Path | None = None
    quality_level: int = 1


def translate(arguments: Sequence[str]) -> tuple[DVCOptions, Translation]:
    """Read a command line and the files it names. Raises one `ConfigError` with the problems of all of them."""
    report = Report()
    try:
        options = parse(arguments)
    except ConfigError as error:
        _read(_sources_among(arguments), report)
        raise ConfigError([*error.problems, *report.lines()]) from None
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Sources)}
    model, train = _read(Sources(**values), report)
    test = _test_config(model, report) if model is not None else None
    report.raise_if_any()
    assert model is not None and test is not None
    return options, Translation(model, train, test)


def _sources_among(arguments: Sequence[str]) -> Sources:
    """The files that a command line names, whatever else is wrong with it."""
    words = [word for given in arguments for word in (given.split("=", 1) if given.startswith("--") else [given])]
    named = dict(zip(words, words[1:], strict=False))
    files: dict[str, Any] = {
        field.name: Path(named[f"--{field.name}"])
        for field in dataclasses.fields(Sources)
        if field.name.endswith("_conf") and os.path.isfile(named.get(f"--{field.name}", ""))
    }
    return Sources(named.get("--MENet"), **files)


def _read(sources: Sources, report: Report) -> tuple[ModelConfig | None, TrainConfig | None]:
    """Model and training; the model is None, and the training not checked against it, where a part is missing."""
    types = scan(report)
    coders = {
        role: read_coder(path, role, types, report)
        for role, path in (
            ("I", sources.intra_coder_conf), ("Motion", sources.motion_coder_conf),
            ("Residual", sources.residual_coder_conf),
        )
        if path is not None
    }  # fmt: skip
    intra = coders["I"] if "I" in coders else zoo_intra(sources.quality_level, types)
    motion_estimator = estimator(sources.MENet, types, report) if sources.MENet is not None else None
    parts = (intra, motion_estimator, coders.get("Motion"), compensator(types), coders.get("Residual"))
    known = [part for part in parts if part is not None]
    model = ModelConfig(NAME, Path(MODEL_FILE), tuple(known)) if len(known) == len(parts) else None
    train = read_phases(sources.train_conf, model, report) if sources.train_conf is not None else None
    return model, train


def _test_config(model: ModelConfig, report: Report) -> TestConfig:
    mode = MODES["residual"]
    process = Process(NAME, imode=mode.imode, pmode=mode.pmode, where="--test")
    for _, problem in check_process(process, model):
        report.add(Where(Path("--test")), problem)
    data = ("UVG", "HEVC-B") if os.environ.get("DATASET") else ("procedural",)
    return TestConfig(NAME, Path(TEST_FILE), (process,), data=data)


def with_weights(model: ModelConfig, **weights: Path | None) -> ModelConfig:
    """The model, with weights for the modules of these names to start from."""
    return replace(model, modules=tuple(replace(spec, weights=weights.get(spec.name)) for spec in model.modules))


def train_options(options: DVCOptions, gpus: int, device: str, checkpoint: Path | None) -> TrainOptions:
    """The options of the engine's trainer; every epoch's checkpoint is kept."""
    given = _shared(options, TrainOptions) | {"experiment_name": options.name}
    return TrainOptions(
        **given, model_config=MODEL_FILE, run_config=str(options.train_conf), lmda=options.lmda, gpu=gpus,
        device=device, checkpoint=checkpoint, per_keep=1,
    )  # fmt: skip


def test_options(options: DVCOptions, gpus: int, device: str, checkpoint: Path | None) -> TestOptions:
    """The options of the engine's tester; what it measures at any quality level is a point of the codec's curve."""
    given = _shared(options, TestOptions) | {"experiment_name": options.codec}
    return TestOptions(
        **given, model_config=MODEL_FILE, run_config=TEST_FILE, lmda=options.lmda, gpu=gpus, device=device,
        checkpoint=checkpoint, intra_period=options.gop, gop_size=1,
    )  # fmt: skip


# Its name would make pytest take it for a test wherever a test module imports it.
test_options.__test__ = False  # type: ignore[attr-defined]


def _shared(options: DVCOptions, of: type[Any]) -> dict[str, Any]:
    """The flags that both command lines have."""
    names = {field.name for field in dataclasses.fields(of)}
    shared = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.name in names}
    return shared | {"no_comet": options.no_comet or options.debug}
