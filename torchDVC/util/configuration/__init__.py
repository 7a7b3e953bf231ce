"""Configuration: model csv, module json, train and test cfg, read into frozen records without importing PyTorch."""

from torchDVC.util.configuration.loading import load_model_config, load_run, load_test_config, load_train_config
from torchDVC.util.configuration.records import (
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
