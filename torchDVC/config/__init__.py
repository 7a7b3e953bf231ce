"""Configuration: csv, json and cfg files and command lines into frozen records; problems with file and line."""

from torchDVC.config.loading import load_model_config, load_run, load_test_config, load_train_config
from torchDVC.config.records import (
    MODES,
    LossExpression,
    ModelConfig,
    Modes,
    ModuleSpec,
    Process,
    Stage,
    TestConfig,
    TrainConfig,
)

__all__ = [
    "MODES",
    "LossExpression",
    "ModelConfig",
    "Modes",
    "ModuleSpec",
    "Process",
    "Stage",
    "TestConfig",
    "TrainConfig",
    "load_model_config",
    "load_run",
    "load_test_config",
    "load_train_config",
]
