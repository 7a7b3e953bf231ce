"""Every shipped model is built; every train cfg and test cfg runs, with small modules and for one step a stage."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lively_models import lively, small
from torchDVC.config import load_model_config, load_run
from torchDVC.config.command_line import parse_tester, parse_trainer
from torchDVC.config.problems import CONFIGS
from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.models.exactness import differences
from torchDVC.models.model_file import fixed
from torchDVC.results.complexity import measure
from torchDVC.results.rows import read_rows
from torchDVC.util.errors import ConfigError


def shipped(kind: str, suffix: str) -> list[str]:
    folder = CONFIGS / kind
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*.{suffix}"))


def fits(model: str, cfg: str, kind: str) -> bool:
    try:
        load_run(model, cfg, kind)  # type: ignore[call-overload]
    except ConfigError:
        return False
    return True


MODELS, TRAIN, TEST = shipped("model", "csv"), shipped("train", "cfg"), shipped("test", "cfg")
TRAINED = [
    (model, cfg) for model in MODELS for cfg in TRAIN
    if Path(cfg).parent.name in (Path(model).stem, Path(model).parent.name) and fits(model, cfg, "train")
]
TESTED = [(model, cfg) for model in MODELS for cfg in TEST if fits(model, cfg, "test")]


def test_every_shipped_file_is_used() -> None:
    """Each model can be tested, each cfg runs with some model, and each module json is an argument of some model."""
    assert {model for model, _ in TESTED} == set(MODELS)
    assert {cfg for _, cfg in TRAINED} == set(TRAIN)
    assert {cfg for _, cfg in TESTED} == set(TEST)
    lines = "".join((CONFIGS / "model" / model).read_text() for model in MODELS)
    assert [json for json in shipped("module", "json") if json not in lines] == []


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_built_as_it_is(model: str) -> None:
    codec = Codec(load_model_config(model))
    by_coding = model == "box.csv"  # what it learns, no gradient teaches
    assert list(codec.buffers() if by_coding else codec.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("model", "cfg"), TRAINED)
def test_every_stage_of_a_train_cfg_runs(model: str, cfg: str, tmp_path: Path, clip_folder: Path) -> None:
    from torchDVC.training.trainer import Trainer

    options = parse_trainer([
        "--lmda", "256", "--model_config", model, "--run_config", cfg, "--save_dir", str(tmp_path), "--no_sanity",
        "--no_comet", "--num_workers", "0", "--test_datasets", str(clip_folder / "one.y4m"), "--device", "cpu",
    ])
    config, train = load_run(model, cfg, "train")
    config = small(config)
    short: dict[str, Any] = {"epochs": 1, "steps": 1, "batch_size": 1, "patch_size": 64, "cut": None}
    short |= {"data": str(clip_folder), "precision": "32", "memory_format": "contiguous"}  # none is measured
    train = replace(train, stages=tuple(replace(stage, **short) for stage in train.stages))
    trainer = Trainer(options, config, train)
    before = copy.deepcopy(trainer.codec.state_dict())
    assert trainer.run() == 0
    after = checkpoints.load(tmp_path / "checkpoints" / "last.safetensors")["model"]
    changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    learning = {spec.name for stage in train.stages for spec in config.of_codes(stage.train)}
    assert changed - {"lmdas"} == {name for name in learning if any(key.startswith(f"{name}.") for key in before)}


@pytest.mark.slow
@pytest.mark.parametrize(("model", "cfg"), TESTED)
def test_every_process_of_a_test_cfg_runs(model: str, cfg: str, tmp_path: Path, clip_folder: Path) -> None:
    from torchDVC.testing.tester import Tester

    config, test = load_run(model, cfg, "test")
    hierarchical = all(process.bmode for process in test.processes)
    pictures = not all(process.pmode or process.bmode for process in test.processes)
    options = parse_tester([
        "--lmda", "256", "--model_config", model, "--run_config", cfg, "--save_dir", str(tmp_path), "--device", "cpu",
        "--no-memory", "--gop_size", "2" if hierarchical else "1", "--intra_period", "1" if pictures else "32",
        "--test_datasets", str(clip_folder / "one.y4m"),
    ])
    assert Tester(options, small(config), replace(test, frames=3)).run() == 0
    rows = read_rows(tmp_path / "rd.csv")
    assert {row.process for row in rows} == {process.name for process in test.processes}
    assert all(row.bpp_estimated and row.frames == 3 for row in rows)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_exact_and_its_cost_is_known(model: str) -> None:
    """With small, lively modules: no float chooses a table, and every operation has a count on each type of frame."""
    config, test = load_run(model, next(cfg for name, cfg in TESTED if name == model), "test")
    torch.manual_seed(0)
    codec, process = lively(Codec(small(config))), test.processes[0]
    fixed(codec, process)
    assert differences(codec, process) == []
    rows = measure(codec, process)
    assert {row.frame_type for row in rows} == set(process.types)
    assert [row for row in rows if row.uncounted] == []
