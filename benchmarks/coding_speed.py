"""How fast P frames are coded: the baseline in all that it may code in, beside compressai's ssf2020 in one run.

    python benchmarks/coding_speed.py [--width N] [--height N] [--repeats N] [--threads N] [--dcvc FOLDER]

Every candidate takes its turn in each repeat, so that a machine that changes its speed changes it for all; ratios are
medians over the repeats. A frame is encoded to bytes and decoded from them. Networks have random weights, which makes
no difference to speed. ``--dcvc`` names a checkout of microsoft/DCVC's DCVC-family/DCVC-DC; its transforms are timed
without an entropy coder, which needs a compiler.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import existing_path, whole
from torchDVC.util.errors import run_command

if TYPE_CHECKING:
    from torchDVC.util.arithmetic import Arithmetic

CPU = torch.device("cpu")
REFERENCE = "ssf2020"
FRAMES = 4

Seconds = tuple[float, float]
"""Of encoding and of decoding a frame."""


@dataclass
class Times:
    """Seconds of each repeat."""

    encode: list[float]
    decode: list[float]

    def over(self, other: Times) -> Seconds:
        """The median speed relative to another's."""
        pairs = ((other.encode, self.encode), (other.decode, self.decode))
        return tuple(statistics.median(b / a for b, a in zip(*pair, strict=True)) for pair in pairs)  # type: ignore[return-value]


def ours(pictures: Sequence[Tensor], arithmetic: Arithmetic) -> Callable[[], Seconds]:
    """The baseline's P frames, from real payloads, with the command line's loops."""
    from torchDVC.coding_structure import CodingStructure
    from torchDVC.config import load_run
    from torchDVC.entropy.symbol_streams import ReadingStream, WritingStream
    from torchDVC.models.model_file import fixed
    from torchDVC.models.sequence import FrameTask, code_frames, code_sequence
    from torchDVC.models.weights import build_codec

    config, tests = load_run("baseline.csv", "baseline.cfg", "test")
    model = fixed(build_codec(config).eval(), tests.processes[0])
    model.codec.compute_in(arithmetic, CPU)
    height, width = pictures[0].shape[-2:]

    def run() -> Seconds:
        coded, encode = [], []
        start = time.perf_counter()
        for picture in code_sequence(model.codec, model.modes, CodingStructure(0), (height, width),
                                     lambda frame: WritingStream(), sources=pictures):
            assert isinstance(picture.stream, WritingStream)
            coded.append((picture.frame, picture.stream.payload()))
            encode.append(time.perf_counter() - start)
            start = time.perf_counter()
        tasks = (FrameTask(frame, ReadingStream(payload)) for frame, payload in coded)
        decode = []
        for _ in code_frames(model.codec, model.modes, (height, width), tasks):
            decode.append(time.perf_counter() - start)
            start = time.perf_counter()
        return statistics.mean(encode[1:]), statistics.mean(decode[1:])

    return run


def ssf2020(pictures: Sequence[Tensor]) -> Callable[[], Seconds]:
    """The P frames of compressai's ScaleSpaceFlow, each from the source before it."""
    from benchmarks.packages import needed

    model = needed("compressai.models.video").ScaleSpaceFlow().eval()
    model.update()
    pairs = list(zip(pictures, pictures[1:], strict=False))

    @torch.no_grad()
    def run() -> Seconds:
        start = time.perf_counter()
        coded = [model.encode_inter(picture, before)[1] for before, picture in pairs]
        middle = time.perf_counter()
        for (before, _), out in zip(pairs, coded, strict=True):
            model.decode_inter(before, out["strings"], out["shape"])
        return (middle - start) / len(pairs), (time.perf_counter() - middle) / len(pairs)

    return run


def dcvc(pictures: Sequence[Tensor], folder: Path) -> Callable[[], Seconds]:
    """The P frames of DCVC-DC: its encoder's transforms, which hold its decoder's, and no entropy coder."""
    sys.path.insert(0, str(folder))
    try:
        model = importlib.import_module("src.models.video_model").DMC().eval()
    except ImportError as error:
        raise SystemExit(f"{folder}: no src/models/video_model.py of DCVC-DC here ({error})") from None

    @torch.no_grad()
    def run() -> Seconds:
        dpb: dict[str, Any] = dict.fromkeys(("ref_feature", "ref_mv_feature", "ref_y", "ref_mv_y"))
        dpb["ref_frame"] = pictures[0]
        start = time.perf_counter()
        for index, picture in enumerate(pictures[1:], start=1):
            dpb = model.forward_one_frame(picture, dpb, q_in_ckpt=True, q_index=1, frame_idx=index % 4)["dpb"]
        return (time.perf_counter() - start) / (len(pictures) - 1), float("nan")

    return run


def measure(candidates: dict[str, Callable[[], Seconds]], repeats: int) -> dict[str, Times]:
    """The seconds of each in each repeat, all in turn, after one turn of each that does not count."""
    times = {name: Times([], []) for name in candidates}
    for repeat in range(repeats + 1):
        for name, run in candidates.items():
            encode, decode = run()
            if repeat:
                times[name].encode.append(encode)
                times[name].decode.append(decode)
    return times


def report(times: dict[str, Times]) -> str:
    """A line a candidate: milliseconds a frame, and the speed relative to ssf2020."""
    lines = [f"{'P frames':<34}{'encode':>9}{'decode':>9} ms{'encode':>9}{'decode':>8} times {REFERENCE}'s speed"]
    for name, own in times.items():
        encode, decode = (1e3 * statistics.median(seconds) for seconds in (own.encode, own.decode))
        of_encode, of_decode = own.over(times[REFERENCE])
        lines.append(f"{name:<34}{encode:>9.0f}{decode:>9.0f}   {of_encode:>9.2f}{of_decode:>8.2f}")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    width: int = flag(whole(64), "of the pictures", metavar="N", default=384)
    height: int = flag(whole(64), "of the pictures", metavar="N", default=256)
    repeats: int = flag(whole(1), "turns of each candidate", metavar="N", default=5)
    threads: int = flag(whole(1), "to compute with", metavar="N", default=2)
    dcvc: Path | None = flag(existing_path, "checkout of DCVC-DC, to be timed too", metavar="FOLDER", default=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/coding_speed.py [flags]"
    return run_command(lambda: compare(parse_flags(Options, arguments, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Measure, and print."""
    from torchDVC.dataset.procedural import procedural_clip
    from torchDVC.util.arithmetic import AUTO
    from torchDVC.util.arithmetic import candidates as candidates_here

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clip = procedural_clip(0, FRAMES, (options.width, options.height))
    pictures = [torch.from_numpy(rgb).float()[None] / 255 for rgb in clip]
    candidates = {REFERENCE: ssf2020(pictures)}
    for arithmetic in candidates_here(AUTO, AUTO, CPU):
        candidates[f"baseline {arithmetic}"] = ours(pictures, arithmetic)
    if options.dcvc:
        candidates["DCVC-DC, no entropy coder"] = dcvc(pictures, options.dcvc)
    print(report(measure(candidates, options.repeats)))


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
