"""What a model codes fastest in here: tried once for each model and device, and kept beside the models."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from torchDVC.coding_structure import CodingStructure
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models import model_store
from torchDVC.models.codec import CodedPicture
from torchDVC.models.exactness import moving_clip
from torchDVC.models.model_file import SHOWN_DIGITS, Model
from torchDVC.models.sequence import code_sequence
from torchDVC.util.arithmetic import AUTO, CODING, Arithmetic, candidates, fastest, timed
from torchDVC.util.device import described
from torchDVC.util.files import atomic_path

SIZE = (192, 256)
"""Height and width of the pictures that a trial codes, as few as show the speed: an I frame and P frames."""
STRAY = 0.01
"""A precision that changes bits times squared error by more than this share, 0.04 dB, is no candidate."""
SMALL = 1_000_000
"""Models of fewer weights are not tried: they are fast in anything."""


def fastest_here(model: Model, device: torch.device, precision: str, say: Callable[[str], None]) -> Arithmetic:
    """What to encode in: with ``auto`` the fastest precision, and its fastest layout. A new choice is said."""
    known = _kept(model, device)
    if precision in known:
        return known[precision]
    if sum(weight.numel() for weight in model.codec.parameters()) < SMALL:
        return CODING if precision == AUTO else replace(CODING, precision=precision)
    clip = [model.codec.format.from_rgb(picture) for picture in moving_clip(3, SIZE, device)]
    chosen, times = fastest(candidates(precision, AUTO, device), partial(_trial, model, device, clip), STRAY)
    _keep(model, device, {**known, precision: chosen})
    others = ", ".join(f"{choice} {seconds:.3f} s" for choice, seconds in times.items() if choice != chosen)
    say(f"model {model}: {chosen}, {times[chosen]:.3f} s a frame of {SIZE[1]}x{SIZE[0]} ({others})")
    return chosen


def coded_in(model: Model, device: torch.device, precision: str) -> Arithmetic:
    """What to decode in what was encoded in a precision: the layout that was fastest, where that is known."""
    known = (choice for choice in _kept(model, device).values() if choice.precision == precision)
    return next(known, replace(CODING, precision=precision))


def _trial(
    model: Model, device: torch.device, clip: Sequence[Tensor], choice: Arithmetic, count: int
) -> tuple[float, float]:
    """Seconds of the last of an I frame and ``count`` others, and its bits times its squared error."""
    model.codec.compute_in(choice, device)
    structure = CodingStructure(0 if model.modes.pmode else 1, 1, model.modes.references)
    pictures = code_sequence(
        model.codec, model.modes, structure, SIZE, lambda frame: EstimatingStream(), sources=clip[: 1 + count],
        quality=model.codec.levels // 2,
    )  # fmt: skip
    for source in clip[: 1 + count]:
        measured = timed(partial(_loss, pictures, source), device)
    return measured


def _loss(pictures: Iterator[CodedPicture], source: Tensor) -> float:
    picture = next(pictures)
    return picture.bits * float((picture.state["recon"] - source).square().mean())


# --- choices that were made


def _path(model: Model) -> Path:
    return model_store.folders()[0] / f"{model.hash[:SHOWN_DIGITS]}.speed.json"


def _kept(model: Model, device: torch.device) -> dict[str, Arithmetic]:
    """The choices for a model on a device, by the precision that was asked for."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        of_device = json.loads(_path(model).read_text(encoding="utf-8")).get(described(device), {})
        return {asked: Arithmetic(*choice.split()) for asked, choice in of_device.items()}
    return {}


def _keep(model: Model, device: torch.device, choices: dict[str, Arithmetic]) -> None:
    """Keep them, beside those for other devices, if there is a place that can be written to."""
    path, kept = _path(model), {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
    kept[described(device)] = {asked: str(choice) for asked, choice in choices.items()}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")
