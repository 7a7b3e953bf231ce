"""Anchor codecs on the user's own clips: ``python -m torchDVC.anchors --datasets clips --codecs x264 x265``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.anchors.encoders import ENCODERS
from torchDVC.anchors.points import anchors, measure_anchors, name_problems, quality_problems
from torchDVC.coding_structure import CodingStructure
from torchDVC.config.clip_flags import ClipFlags
from torchDVC.config.flags import flag, parse_flags, same_flag, switch_flag
from torchDVC.config.run_flags import RunOptions
from torchDVC.config.values import any_path, choice, number, whole, words
from torchDVC.util.errors import run_command

_KNOWN = ", ".join(f"{name}:{{{','.join(encoder.presets)}}}" for name, encoder in ENCODERS.items())


@dataclass(frozen=True, kw_only=True)
class AnchorOptions(ClipFlags):
    """The command line of ``python -m torchDVC.anchors``."""

    datasets: tuple[str, ...] = flag(words, "names of test sets, folders or files", many=True, metavar="NAME")
    seqs: tuple[str, ...] = flag(words, "only these sequences", many=True, metavar="NAME", default=())
    codecs: tuple[str, ...] = flag(
        words, f"a codec or codec:preset; {_KNOWN}", many=True, metavar="CODEC", default=("x264",)
    )
    qualities: tuple[float, ...] = flag(
        number(), "CRF or QP in place of the codec's own", many=True, metavar="Q", default=()
    )
    tune: str = flag(
        choice("psnr"), "x264 and x265 without psychovisual optimisation", metavar="{psnr}", default=""
    )
    intra_period: int = same_flag(RunOptions, "intra_period")
    gop_size: int = same_flag(RunOptions, "gop_size")
    frames: int | None = flag(
        whole(1), "the first so many frames of each clip (default: all)", metavar="N", default=None
    )
    matrix: str | None = flag(
        choice("bt709", "bt601"), "colour matrix in place of the clips' own", metavar="{bt709,bt601}", default=None
    )
    no_ms_ssim: bool = switch_flag("leave MS-SSIM out")
    save_dir: Path = flag(any_path, "folder for the results", metavar="DIR", default=Path("results/anchors"))

    def problems(self) -> Iterator[str]:
        """What is wrong with the codecs, and with the qualities of those that exist."""
        yield from name_problems(self.codecs)
        known = [encoder for name in self.codecs if (encoder := name.partition(":")[0]) in ENCODERS]
        yield from quality_problems(known, self.qualities)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> None:
    usage = "python -m torchDVC.anchors --datasets NAME [flags]"
    options = parse_flags(AnchorOptions, argv, usage=usage, description=__doc__ or "")
    from torchDVC.dataset.frame import ReadOptions
    from torchDVC.dataset.testing import test_sequences
    from torchDVC.util.progress import Progress

    codecs = anchors(options.codecs, options.tune)
    given, singly = ReadOptions(**options.said), options.intra_period == 1
    sequences = test_sequences(options.datasets, options.seqs or None, given, singly=singly)
    total = len(sequences) * sum(len(options.qualities or ENCODERS[codec.encoder].qualities) for codec in codecs)
    with Progress(total, "anchors", unit="point") as progress:
        rows = measure_anchors(
            sequences,
            codecs,
            CodingStructure(options.intra_period, options.gop_size),
            options.save_dir,
            frames=options.frames,
            matrix=options.matrix,
            qualities=options.qualities,
            ms_ssim=not options.no_ms_ssim,
            report=lambda count, what: progress.update(1, last=what),
            note=lambda text: print(text, file=sys.stderr),
        )
    print(f"wrote {len(rows)} rate points to {options.save_dir / 'rd.csv'}")
