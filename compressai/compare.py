"""Code the same pictures with CompressAI's own coder and with this framework's, and print one table of both."""

from __future__ import annotations

if __name__ == "__main__":
    import os
    import sys

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    from torchDVC.util.start import program

    program("compare")

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torchDVC.config.flags import argument, flag, parse_flags
from torchDVC.config.values import any_path, existing_file, existing_path, whole
from torchDVC.util.errors import ConfigError, DataError, run_command

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
USAGE = "python compare.py PICTURE … --json MODULE.json --weights FILE [--out table.md]"
HEADER = ("picture", "coder", "bytes", "bpp", "PSNR", "encode s", "decode s")
STRIDE = 64


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    pictures: tuple[Path, ...] = argument(existing_path, "pictures, or folders of them", metavar="PICTURE", many=True)
    json: Path = flag(existing_file, "arguments of the module: model, and quality, or N and M", metavar="JSON")
    weights: Path = flag(existing_file, "CompressAI's weights: .safetensors, .pth or .pth.tar", metavar="FILE")
    quality: tuple[int, ...] = flag(
        whole(0), "quality levels of a -vbr model (default: all)", metavar="N", many=True, default=()
    )
    out: Path | None = flag(any_path, "write the table there as Markdown too", metavar="FILE", default=None)


@dataclass(frozen=True)
class Coding:
    """What coding a picture gave."""

    coder: str
    bytes: int
    picture: Tensor
    encode: float
    decode: float


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""

    def run() -> None:
        options = parse_flags(Options, arguments, usage=USAGE, description=__doc__ or "")
        from torchDVC.results.tables import markdown_table, text_table
        from torchDVC.util.files import write_text

        lines = list(table(options))
        print(text_table(HEADER, lines), end="")
        if options.out is not None:
            write_text(options.out, markdown_table(HEADER, lines))

    return run_command(run)


def table(options: Options) -> Iterator[list[str]]:
    """The lines of the table: two for each picture and quality level."""
    from convert import from_compressai, intra, module_arguments, network_of, read

    given = module_arguments(options.json)
    module = intra(given)
    module.load_state_dict(from_compressai(read(options.weights), given, str(options.weights)))
    network, files = network_of(module, given), _readable(options.pictures)
    _warm_up(network, module)
    for path, level in product(files, _levels(given["levels"], options.quality)):
        picture = _read(path)
        name = path.name if given["levels"] == 1 else f"{path.name} q{level}"
        for coding in (_theirs(network, picture, level), _ours(module, picture, level)):
            yield _line(name, picture, coding)


def _levels(count: int, asked: Sequence[int]) -> Sequence[int]:
    """The levels to code with."""
    if max(asked, default=0) >= count:
        raise ConfigError([f"--quality {max(asked)}; expected 0 to {count - 1} with this model"])
    return asked or range(count)


def _readable(paths: Sequence[Path]) -> list[Path]:
    """The pictures that are named, and those of folders. Raises `DataError` with a line for each that is damaged."""
    files, problems = list(_files(paths)), []
    for path in files:
        try:
            _read(path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return files


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    from torchDVC.dataset.pictures import picture_files

    for path in paths:
        found = picture_files(path) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path}: no pictures in this folder")
        yield from found


def _read(path: Path) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    import numpy as np
    import torch

    from torchDVC.dataset.pictures import read_picture

    return torch.from_numpy(np.ascontiguousarray(read_picture(path)))[None].float() / 255


def _warm_up(network: Any, module: Any) -> None:
    """Code a small picture, so that what is built and compiled once is not counted as the time of the first one."""
    import torch

    picture = torch.zeros(1, 3, STRIDE, STRIDE)
    _theirs(network, picture, 0)
    _ours(module, picture, 0)


def _theirs(network: Any, picture: Tensor, level: int) -> Coding:
    """By CompressAI's ``compress`` and ``decompress``."""
    padded, gains = _padded(picture), getattr(network, "Gain", None)
    which = {} if gains is None else {"s": level}
    if gains is not None:
        network.update(force=True, scale=gains[level])
    coded, encode = _timed(lambda: network.compress(padded, **which))
    decoded, decode = _timed(lambda: network.decompress(coded["strings"], coded["shape"], **which))
    size = sum(len(string) for strings in coded["strings"] for string in strings)
    return Coding("CompressAI", size, decoded["x_hat"], encode, decode)


def _ours(module: Any, picture: Tensor, level: int) -> Coding:
    """By this framework's coder, from a stream that knows no more than the bytes."""
    from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream

    padded = _padded(picture)
    stream = WritingStream()
    _, encode = _timed(lambda: module(_state(padded.shape, level, padded), stream))
    payload = stream.payload()
    coded, decode = _timed(lambda: module(_state(padded.shape, level), ReadingStream(payload)))
    return Coding("torchDVC", len(payload), coded["recon"], encode, decode)


def _state(shape: Sequence[int], level: int, picture: Tensor | None = None) -> Any:
    import torch

    from torchDVC.coding_structure import CodedFrame, FrameInfo
    from torchDVC.modules.frame_state import FrameState

    state = FrameState(FrameInfo.of(CodedFrame(0)), 1, shape[2], shape[3], torch.tensor([level]))
    if picture is not None:
        state["frame"] = picture
    return state


def _padded(picture: Tensor) -> Tensor:
    from torch.nn import functional as F

    below, right = (-side % STRIDE for side in picture.shape[2:])
    return F.pad(picture, (0, right, 0, below), mode="replicate")


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    import torch

    start = time.perf_counter()
    with torch.no_grad():
        result = action()
    return result, time.perf_counter() - start


def _line(name: str, picture: Tensor, coding: Coding) -> list[str]:
    height, width = picture.shape[2:]
    decoded = (coding.picture[..., :height, :width].clamp(0, 1) * 255).round() / 255
    psnr = -10 * (decoded - picture).square().mean().clamp_min(1e-10).log10()
    return [name, coding.coder, str(coding.bytes), f"{8 * coding.bytes / (height * width):.4f}", f"{psnr:.3f}",
            f"{coding.encode:.3f}", f"{coding.decode:.3f}"]  # fmt: skip
