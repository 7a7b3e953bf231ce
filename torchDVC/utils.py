"""What users' own scripts import most: the reading of configuration and of checkpoints, under one name."""

from __future__ import annotations

from torchDVC.coding_structure import CodingStructure, parse_pairs, training_frames
from torchDVC.config import load_model_config, load_run, load_test_config, load_train_config
from torchDVC.models.checkpoints import load, load_foreign, load_weights, save
from torchDVC.models.weights import build_codec, model_weights

__all__ = [
    "CodingStructure",
    "build_codec",
    "load",
    "load_foreign",
    "load_model_config",
    "load_run",
    "load_test_config",
    "load_train_config",
    "load_weights",
    "model_weights",
    "parse_pairs",
    "save",
    "training_frames",
]
