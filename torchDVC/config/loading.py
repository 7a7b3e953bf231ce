"""Loads the files that a command line names, and reports every problem of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

from torchDVC.config.lookup import find_config
from torchDVC.config.model_csv import read_model_csv
from torchDVC.config.problems import Report
from torchDVC.config.records import ModelConfig, TestConfig, TrainConfig
from torchDVC.config.scan import scan
from torchDVC.config.test_cfg import read_test_cfg
from torchDVC.config.train_cfg import read_train_cfg

Name = str | Path


def load_model_config(name: Name) -> ModelConfig:
    """Read a model csv, by its path or its name under ``configs/model``. Raises `ConfigError` with all its problems."""
    report = Report()
    model = _model(name, report)
    report.raise_if_any()
    assert model is not None
    return model


def load_train_config(name: Name, model: ModelConfig) -> TrainConfig:
    """Read a train cfg, by its path or its name under ``configs/train``. Raises `ConfigError` with all its problems."""
    report = Report()
    train = _run(name, "train", model, report)
    report.raise_if_any()
    assert isinstance(train, TrainConfig)
    return train


def load_test_config(name: Name, model: ModelConfig) -> TestConfig:
    """Read a test cfg, by its path or its name under ``configs/test``. Raises `ConfigError` with all its problems."""
    report = Report()
    test = _run(name, "test", model, report)
    report.raise_if_any()
    assert isinstance(test, TestConfig)
    return test


@overload
def load_run(
    model_name: Name, run_name: Name, kind: Literal["train"], said: Sequence[str] = ()
) -> tuple[ModelConfig, TrainConfig]: ...
@overload
def load_run(
    model_name: Name, run_name: Name, kind: Literal["test"], said: Sequence[str] = ()
) -> tuple[ModelConfig, TestConfig]: ...
def load_run(
    model_name: Name, run_name: Name, kind: str, said: Sequence[str] = ()
) -> tuple[ModelConfig, TrainConfig | TestConfig]:
    """Read a model csv and the train or test cfg for it; one `ConfigError` holds the problems of all files.

    ``said`` are keys of the cfg with their values in every section, ``key=value`` each. A cfg is checked against the
    model only where that has no problem of its own.
    """
    report = Report()
    model = _model(model_name, report)
    run = _run(run_name, kind, None if report else model, report, said)
    report.raise_if_any()
    assert model is not None and run is not None
    return model, run


def _model(name: Name, report: Report) -> ModelConfig | None:
    types = scan(report)
    path = find_config(str(name), "model", report)
    return read_model_csv(path, types, report) if path else None


def _run(
    name: Name, kind: str, model: ModelConfig | None, report: Report, said: Sequence[str] = ()
) -> TrainConfig | TestConfig | None:
    path = find_config(str(name), kind, report)
    if path is None:
        return None
    return (read_train_cfg if kind == "train" else read_test_cfg)(path, model, report, said)
