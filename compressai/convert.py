"""Convert weights of CompressAI's image models to those of the module type CompressAIIntra, and back."""

from __future__ import annotations

if __name__ == "__main__":
    import os
    import sys

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    from torchDVC.util.start import program

    program("convert")

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchDVC.config.flags import argument, flag, parse_flags, switch_flag
from torchDVC.config.values import Unexpected, any_path, existing_file
from torchDVC.util.errors import CheckpointError, run_command

if TYPE_CHECKING:
    from torch import Tensor

USAGE = "python convert.py INPUT OUTPUT --json MODULE.json [--back]"
SAFE = ".safetensors"
SUFFIXES = (SAFE, ".pth", ".pth.tar")


def _weights_file(text: str) -> Path:
    if not text.endswith(SUFFIXES):
        raise Unexpected(f"a file {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    return any_path(text)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    input: Path = argument(existing_file, "weights: .safetensors, .pth or .pth.tar", metavar="INPUT")
    output: Path = argument(_weights_file, "what to write: .safetensors, .pth or .pth.tar", metavar="OUTPUT")
    json: Path = flag(existing_file, "arguments of the module: model, and quality, or N and M", metavar="JSON")
    back: bool = switch_flag("from a checkpoint of this framework to CompressAI's weights")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""

    def run() -> None:
        options = parse_flags(Options, arguments, usage=USAGE, description=__doc__ or "")
        given = module_arguments(options.json)
        convert = to_compressai if options.back else from_compressai
        count = save(options.output, convert(read(options.input), given, str(options.input)))
        print(f"{options.output}: {count} tensors of {given['model']}")

    return run_command(run)


def module_arguments(path: Path) -> dict[str, Any]:
    """The arguments of CompressAIIntra in a module json, checked as those of a model csv's line are."""
    from torchDVC.config.json_files import read_arguments
    from torchDVC.config.problems import Report
    from torchDVC.config.scan import scan

    report = Report()
    found = read_arguments(path, scan(report)["CompressAIIntra"], report)
    report.raise_if_any()
    return {"model": "bmshj2018-hyperprior", "levels": 1, **found}


def from_compressai(tensors: Mapping[str, Tensor], given: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The module's tensors from those of CompressAI. Raises `CheckpointError` where they do not fit."""
    module = intra(given)
    from torchDVC.models.checkpoints import load_weights

    load_weights(module, module.translate_weights(tensors), where)
    return dict(module.state_dict())


def to_compressai(tensors: Mapping[str, Tensor], given: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """A complete state of CompressAI's model, tables included, from the module's tensors."""
    from torchDVC.models.checkpoints import load_weights

    module = intra(given)
    load_weights(module, tensors, where)
    return dict(network_of(module, given).state_dict())


def intra(given: Mapping[str, Any]) -> Any:
    """The module."""
    from torchDVC.modules.intra.compressai_intra import CompressAIIntra

    try:
        return CompressAIIntra(**given).eval()
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def network_of(module: Any, given: Mapping[str, Any]) -> Any:
    """CompressAI's own model with the module's weights, and tables of them."""
    from torchDVC.modules.intra.compressai_intra import build

    network = build(**{name: value for name, value in given.items() if name != "levels"}).eval()
    own, theirs = module.state_dict(), network.state_dict()
    ours = {name: next(iter(module.translate_weights({name: x})), "") for name, x in theirs.items()}
    network.load_state_dict(theirs | {name: own[ours[name]] for name in ours if ours[name]})
    network.update(force=True)
    return network


def read(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file: weights alone, under ``state_dict``, or a run's checkpoint with one intra codec."""
    from torchDVC.models.checkpoints import load_foreign

    tensors: Mapping[str, Any] = load_foreign(path)
    tensors = tensors.get("state_dict", tensors)
    prefix = "model.intra_codec."
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)} or tensors


def save(path: Path, tensors: Mapping[str, Tensor]) -> int:
    """Write a file, whole or not at all; how many tensors it has."""
    from torchDVC.util.files import atomic_path

    whole = {name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()}
    data = serialised(whole, path.suffix)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return len(whole)


def serialised(tensors: Mapping[str, Tensor], suffix: str) -> bytes:
    """The contents of a file of that suffix."""
    import torch
    from safetensors.torch import save as safe

    if suffix == SAFE:
        return safe(dict(tensors))
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()
