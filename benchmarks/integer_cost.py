"""What exact integers cost: rate and distortion of a model with its integer networks, and with the same in floats.

Run from the checkout: ``python -m benchmarks.integer_cost --model_config CSV --checkpoints A B … --inputs CLIP …``.
Each checkpoint is a rate point, as is each level of a variable-rate model. The floats are the very networks without
any rounding of weights, activations and outputs; only the row of the Gaussian tables is still a whole number. Symbols,
and so the pictures, differ between the two, hence rate and PSNR are both compared, by BD-rate from four points on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from torchDVC.coding_structure import CodingStructure
from torchDVC.config import Modes
from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import existing_path, whole, words
from torchDVC.dataset.video import open_video
from torchDVC.entropy.integer import arithmetic
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import Codec
from torchDVC.models.sequence import code_sequence
from torchDVC.results.metrics import plane_psnr
from torchDVC.util.errors import run_command


def rate_and_psnr(
    codec: Codec, modes: Modes, clip: Path, frames: int, structure: CodingStructure, quality: int
) -> tuple[float, float]:
    """Bits per pixel and mean PSNR-RGB in dB of a clip."""
    reader = open_video(clip, frames=frames)
    size = (reader.info.height, reader.info.width)
    sources = (codec.format.to_tensor(frame, torch.device("cpu")) for frame in reader)
    bits, psnr = 0.0, []
    for picture in code_sequence(
        codec, modes, structure, size, lambda frame: EstimatingStream(), sources=sources, quality=quality
    ):
        assert picture.source is not None
        bits += picture.bits
        source, recon = (codec.format.to_frame(x, size).rgb for x in (picture.source, picture.state["recon"]))
        psnr.append(plane_psnr(source, recon))
    return bits / (size[0] * size[1] * len(psnr)), sum(psnr) / len(psnr)


def bd_rate(anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]) -> float:
    """Bjøntegaard's difference in rate, in percent (piecewise cubic interpolation)."""
    import bjontegaard

    (rate_a, psnr_a), (rate_b, psnr_b) = (zip(*sorted(points), strict=True) for points in (anchor, test))
    return float(bjontegaard.bd_rate(rate_a, psnr_a, rate_b, psnr_b, method="pchip", require_matching_points=False))


def _codecs(model_config: str, checkpoints: Sequence[Path]) -> Iterator[tuple[str, Codec]]:
    from torchDVC.config import load_model_config
    from torchDVC.models.checkpoints import load_weights
    from torchDVC.models.weights import build_codec, model_weights

    for path in checkpoints:
        codec = build_codec(load_model_config(model_config))
        load_weights(codec, model_weights(path), str(path))
        yield path.stem, codec.eval()


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    model_config: str = flag(words, "model csv under configs/model, or a path", metavar="CSV")
    checkpoints: tuple[Path, ...] = flag(existing_path, "one for each rate point", many=True, metavar="FILE")
    inputs: tuple[Path, ...] = flag(existing_path, "clips", many=True, metavar="CLIP")
    frames: int = flag(whole(1), "the first so many of each clip", metavar="N", default=16)
    gop_size: int = flag(whole(1), "1 for low delay", metavar="N", default=1)
    imode: str = flag(words, "modules that run on I frames", metavar="CODES", default="i")
    pmode: str = flag(words, "modules that run on P frames", metavar="CODES", default="emcr")
    bmode: str = flag(words, "modules that run on B frames", metavar="CODES", default="emcr")


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python -m benchmarks.integer_cost --model_config CSV --checkpoints A B … --inputs CLIP … [flags]"
    return run_command(lambda: compare(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Measure and print, point by point."""
    modes = Modes("all", options.imode, options.pmode, options.bmode)
    structure = CodingStructure(32, options.gop_size)
    codecs = list(_codecs(options.model_config, options.checkpoints))
    for clip in options.inputs:
        points: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for name, codec in codecs:
            for quality in range(codec.levels):
                for rounding, found in points.items():
                    with arithmetic(rounding=rounding):
                        found.append(rate_and_psnr(codec, modes, clip, options.frames, structure, quality))
                (rate_f, psnr_f), (rate_i, psnr_i) = points[False][-1], points[True][-1]
                print(f"{clip.stem} {name} level {quality}: floats {rate_f:.5f} bpp {psnr_f:.3f} dB, "
                      f"integers {rate_i / rate_f - 1:+.3%} {psnr_i - psnr_f:+.4f} dB", flush=True)  # fmt: skip
        if len(points[True]) >= 4:
            print(f"{clip.stem}: BD-rate of the integers {bd_rate(points[False], points[True]):+.3f} %", flush=True)


if __name__ == "__main__":
    import sys

    sys.exit(main())
