"""Where model files are kept, and finding the one that a stream names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from torchDVC.models.checkpoints import SUFFIX
from torchDVC.models.model_file import SHOWN_DIGITS, Model, is_intact, load_model, save_model, stored_hash
from torchDVC.util.errors import CheckpointError, nearest
from torchDVC.util.files import environment_folder

MODELS_VARIABLE = "TORCHDVC_MODELS"
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained"


def folders() -> list[Path]:
    """Where models are looked for: the folders of ``$TORCHDVC_MODELS``, ``$LOG/models``, the shipped models."""
    own = [Path(folder).expanduser() for folder in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if folder]
    return [*own, environment_folder("LOG", "log") / "models", SHIPPED]


def keep(model: Model) -> Path:
    """Put a model where `find` finds it, unless it is there already, undamaged; returns the file."""
    for known in _files_of(model.hash):
        if is_intact(known):
            return known
    path = folders()[0] / f"{model.name}-{model.hash[:SHOWN_DIGITS]}{SUFFIX}"
    save_model(path, model)
    return path


def find(prefix: str) -> Model:
    """The model whose hash begins with ``prefix``. Raises `CheckpointError` that says where it was looked for."""
    searched = ", ".join(map(str, folders()))
    problem = CheckpointError(
        f"model {prefix[:SHOWN_DIGITS]}… is not here; expected --model, or its file in one of: {searched}"
    )
    for path in _files_of(prefix):
        try:
            return load_model(path)
        except CheckpointError as error:  # there may be another copy
            problem = error
    raise problem


def open_model(name: str) -> Model:
    """A model by the path of its file, or by its name in one of the `folders`."""
    candidates = [Path(name).expanduser(), *(folder / f"{name}{SUFFIX}" for folder in folders())]
    for path in candidates:
        if path.is_file():
            return load_model(path)
    names = [path.stem for path in _files()]
    raise CheckpointError(f"{name}: no such model file, nor a model of that name{nearest(name, names)}")


def shipped() -> Model:
    """The model that comes with this version, which codes where none is named; of several, the last by name."""
    files = sorted(SHIPPED.glob(f"*{SUFFIX}"))
    if not files:
        raise CheckpointError(
            "no model comes with this version; expected --model FILE, or --model_config CSV with --checkpoint PATH"
        )
    return load_model(files[-1])


def _files_of(prefix: str) -> Iterator[Path]:
    """The files that say their hash begins so; those named after it are asked first."""
    files = sorted(_files(), key=lambda path: prefix[:SHOWN_DIGITS] not in path.name)
    return (path for path in files if stored_hash(path).startswith(prefix))


def _files() -> Iterator[Path]:
    for folder in folders():
        yield from sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
