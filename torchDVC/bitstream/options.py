"""The command lines of ``codec.py``, one a command."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchDVC.bitstream.header import PRECISIONS
from torchDVC.config.clip_flags import CLIPS, ClipFlags
from torchDVC.config.command_line import RunOptions, TestOptions
from torchDVC.config.flags import argument, flag, parse_flags, same_flag, switch_flag
from torchDVC.config.values import Unexpected, any_path, choice, number, whole, words
from torchDVC.util.files import STANDARD, in_the_way

AUTO = "auto"
_FILES = "files"
_MODEL = "model"
_RATE = "rate and quality"
_VIDEO = "video"
_GROUPS = (_FILES, _MODEL, _RATE, _VIDEO, CLIPS, "coding structure", "machine")


def _bitrate(text: str) -> float:
    factor = {"k": 1e3, "m": 1e6}.get(text[-1:].lower())
    try:
        value = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise Unexpected("bits a second, such as 300k, 1.5M or 250000")
    return value


def _stream_problems(stream: Path) -> Iterator[str]:
    """What is wrong with a stream that a command is to read."""
    if stream == STANDARD:
        yield "INPUT '-'; a stream is read at any place of it, expected the name of a file"


def _output_problems(shown: str, output: Path, *read: Path | str | None, suffix: str = "") -> Iterator[str]:
    """What is wrong with what a command is to write. It must not replace the files that are ``read``."""
    if suffix and output.suffix.lower() != suffix:
        yield f"{shown} '{output}'; expected a name that ends with {suffix}"
    elif output.suffix and (what := in_the_way(output)):
        yield f"{shown} '{output}' is {what}; expected the name of a file"
    elif not output.suffix and (output.name in ("", "..") or (output.exists() and not output.is_dir())):
        yield f"{shown} '{output}'; expected a name with a suffix, or without one that of a folder for pictures"
    for path in read:
        if path is not None and output.exists() and Path(path).exists() and output.samefile(path):
            yield f"{shown} '{output}' is {path}, which is read; expected another name"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where an encoder's model comes from: a csv and trained weights."""

    model_config: str | None = flag(
        words, "model csv: a name under configs/model, or a path", group=_MODEL, metavar="CSV", default=None
    )
    checkpoint: Path | None = flag(
        any_path, "trained weights: a checkpoint or the folder of a run's", group=_MODEL, metavar="PATH", default=None
    )
    ema: bool = same_flag(RunOptions, "ema")
    run_config: str | None = flag(
        words,
        "test cfg with the mode strings (default: the one under configs/test that is called like the model)",
        group=_MODEL,
        metavar="CFG",
        default=None,
    )
    process: str | None = flag(
        words, "which process of it (default: the first)", group=_MODEL, metavar="NAME", default=None
    )
    allow_inexact: bool = switch_flag(
        "make a model whose streams only this device decodes, where they are not exact", group=_MODEL
    )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(SourceOptions):
    """``codec.py export``."""

    out: Path = flag(any_path, "the model file to write", group=_FILES, metavar="FILE")

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        if self.model_config is None:
            yield "--model_config is missing; expected a model csv"
        yield from _output_problems("--out", self.out, self.checkpoint, suffix=".safetensors")


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(SourceOptions, ClipFlags):
    """``codec.py encode``."""

    input: Path = argument(
        any_path, "video file, .y4m, .yuv, picture or folder of them; - for y4m piped in", group=_FILES, metavar="INPUT"
    )
    output: Path = argument(any_path, "the stream to write, .lcp", group=_FILES, metavar="OUTPUT")
    model: str | None = flag(
        words,
        "model file, or the name of a model that is kept (default: the one that is shipped)",
        group=_MODEL,
        metavar="FILE",
        default=None,
    )
    quality: int | None = flag(
        whole(0, 255),
        "quality level of a variable-rate model, 0 the coarsest (default: the middle one)",
        group=_RATE,
        metavar="N",
        default=None,
    )
    bitrate: float | None = flag(
        _bitrate, "bits a second of the file, such as 300k or 1.5M", group=_RATE, metavar="R", default=None
    )
    bpp: float | None = flag(
        number(above=True), "bits per pixel of the file, such as 0.1", group=_RATE, metavar="B", default=None
    )
    passes: int = flag(
        whole(1, 2), "with --bitrate or --bpp: 2 codes twice, to meet it better", group=_RATE, metavar="N", default=1
    )
    rdoq: float | None = same_flag(TestOptions, "rdoq")
    frames: int | None = flag(whole(1), "code at most so many frames", group=_VIDEO, metavar="N", default=None)
    matrix: str | None = flag(
        choice("bt709", "bt601"),
        "colour matrix, before the file's own",
        group=_VIDEO,
        metavar="{bt709,bt601}",
        default=None,
    )
    range: str | None = flag(
        choice("limited", "full"),
        "value range, before the file's own",
        group=_VIDEO,
        metavar="{limited,full}",
        default=None,
    )
    intra_period: int = same_flag(RunOptions, "intra_period")
    gop_size: int = same_flag(RunOptions, "gop_size")
    precision: str = flag(
        choice(AUTO, *PRECISIONS),
        "what pictures are computed in, by the decoder too; auto tries what is fastest, once for each model",
        group="machine",
        metavar=f"{{{','.join((AUTO, *PRECISIONS))}}}",
        default=AUTO,
    )
    device: str = same_flag(RunOptions, "device")

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        yield from _output_problems("OUTPUT", self.output, self.input, self.model, self.checkpoint, suffix=".lcp")
        if self.model is not None and self.model_config is not None:
            yield "both --model and --model_config; expected one of them, or neither for the shipped model"
        rates = [name for name in ("quality", "bitrate", "bpp") if getattr(self, name) is not None]
        if len(rates) > 1:
            yield f"--{' and --'.join(rates)}; expected one of them"
        if self.input == STANDARD and (self.bitrate or self.bpp):
            yield f"--{rates[-1]} reads a clip more than once; expected the name of a file instead of INPUT '-'"
        if self.passes > 1 and rates not in (["bitrate"], ["bpp"]):
            yield f"--passes {self.passes} has no use without --bitrate or --bpp; expected one of them"
        if self.gop_size > 128:
            yield f"--gop_size {self.gop_size}; expected at most 128 in a stream"
        if self.intra_period > 65535:
            yield f"--intra_period {self.intra_period}; expected at most 65535 in a stream"


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """``codec.py decode``."""

    input: Path = argument(any_path, "the stream, .lcp", group=_FILES, metavar="INPUT")
    output: Path = argument(
        any_path, ".y4m, .yuv, .mp4, a folder for png (no suffix), or - to pipe y4m", group=_FILES, metavar="OUTPUT"
    )
    model: str | None = flag(
        words, "model file (default: found by the hash in the stream)", group=_MODEL, metavar="FILE", default=None
    )
    start: int = flag(whole(0), "begin with this frame, counted from 0", group=_VIDEO, metavar="N", default=0)
    conceal: bool = switch_flag("go on after damage at the next intact I frame", group=_VIDEO)
    device: str = same_flag(RunOptions, "device")

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        yield from _stream_problems(self.input)
        if self.output != STANDARD:
            yield from _output_problems("OUTPUT", self.output, self.input, self.model)


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """``codec.py info``."""

    input: Path = argument(any_path, "the stream, .lcp", group=_FILES, metavar="INPUT")
    model: str | None = flag(
        words, "model file, for the bits of each module", group=_MODEL, metavar="FILE", default=None
    )
    device: str = same_flag(RunOptions, "device")

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        yield from _stream_problems(self.input)


Options = ExportOptions | EncodeOptions | DecodeOptions | InfoOptions

_COMMANDS: dict[str, tuple[type, str, str]] = {
    "export": (
        ExportOptions,
        "--model_config CSV --checkpoint PATH --out FILE [flags]",
        "Write one self-contained model file: module table, arguments, weights and integer tables.",
    ),
    "encode": (
        EncodeOptions,
        "INPUT OUTPUT [flags]",
        "Encode a video of any size and length. The model is kept where decoders find it.",
    ),
    "decode": (DecodeOptions, "INPUT OUTPUT [flags]", "Decode a stream."),
    "info": (InfoOptions, "INPUT [flags]", "Show a stream's header, and the bits of each frame and module."),
}
COMMANDS = tuple(_COMMANDS)
USAGE = "\n  ".join(
    [
        "usage: python codec.py {export,encode,decode,info} …; each has --help\n",
        *(f"python codec.py {name} {usage}" for name, (_, usage, _) in _COMMANDS.items()),
    ]
)
_ENVIRONMENT = "Environment: TORCHDVC_MODELS, folders of model files; LOG, the folder for results ($LOG/models)."


def parse_codec(command: str, arguments: Sequence[str]) -> Options:
    """Read the arguments after a command of `COMMANDS`. Raises `ConfigError` with all their problems."""
    record, usage, description = _COMMANDS[command]
    options: Options = parse_flags(
        record,
        arguments,
        usage=f"python codec.py {command} {usage}",
        description=f"{description}\n{_ENVIRONMENT}",
        groups=_GROUPS,
    )
    return options
