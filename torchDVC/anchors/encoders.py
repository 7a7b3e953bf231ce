"""The anchor codecs' encoders, in settings matched to a learned codec's test.

Every video encoder runs in one thread at a constant quality, with intra frames exactly where the coding structure has
them (no scene-cut detection, closed GOPs) and as many B frames between two others as a GOP of the structure holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torchDVC.anchors.coded_files import Decoded, Encoded, read_av, read_bpg, write_av, write_av1, write_bpg
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import Frame, VideoInfo

Options = dict[str, str]
NEVER = 1 << 15  # frames; as an intra period, longer than any clip


def _pyav() -> str:
    import av

    return f"PyAV {av.__version__}"


def _libbpg() -> str:
    from torchDVC.dataset.bpg import bpg_version

    return bpg_version()


@dataclass(frozen=True)
class Encoder:
    """An anchor codec.

    Attributes:
        library: its name in FFmpeg, or the program it is.
        form: the form of the file, also its suffix.
        presets: those that are run when none is named.
        qualities: rate points: constant rate factors, or quantiser parameters of intra codecs.
        known: all presets that differ from one another.
        limits: the least and the highest quality number.
        options: makes the encoder's options of coding structure, preset, quality and tuning ("" or "psnr").
        whole: takes whole numbers as qualities only.
        tunes: has a tuning for PSNR that is not its default.
        gops: the smallest and the largest GOP with B frames.
        filter: what removes messages from the stream that the decoder does not need, as a bitstream filter.
        intra: codes every frame as an intra frame, whatever the structure.
        lmdas: for an intra codec, the lmda that each quality stands for in a learned video codec.
        write, read: write a clip to a file, and give its frames.
        bundle: names the release that the encoder came with.
    """

    library: str
    form: str
    presets: tuple[str, ...]
    qualities: tuple[float, ...]
    options: Callable[[CodingStructure, str, float, str], Options]
    known: tuple[str, ...]
    limits: tuple[float, float]
    whole: bool = False
    tunes: bool = False
    gops: tuple[int, int] = (2, 16)
    filter: str = ""
    intra: bool = False
    lmdas: tuple[float, ...] = ()
    write: Callable[[Encoder, Options, Iterable[Frame], VideoInfo, Path], Encoded] = write_av
    read: Callable[[Path, VideoInfo], Iterator[Decoded]] = read_av
    bundle: Callable[[], str] = _pyav

    def version(self) -> str:
        """What tells one release of the encoder from another."""
        return f"{self.library} of {self.bundle()}"

    def fitted(self, structure: CodingStructure) -> CodingStructure:
        """The structure with the nearest GOP size that the encoder has."""
        smallest, largest = self.gops
        gop_size = structure.gop_size if structure.gop_size == 1 else min(max(structure.gop_size, smallest), largest)
        return CodingStructure(structure.intra_period, gop_size)


def _key_value(settings: dict[str, object]) -> str:
    return ":".join(f"{name}={value}" for name, value in settings.items())


def _keyint(structure: CodingStructure) -> int:
    return structure.intra_period or NEVER


def _x264(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    parameters: dict[str, object] = dict(
        keyint=_keyint(structure), min_keyint=_keyint(structure), scenecut=0, open_gop=0, threads=1, sliced_threads=0
    )
    if structure.gop_size == 1:  # what the tuning "zerolatency" sets, apart from its slices
        parameters |= dict(bframes=0, rc_lookahead=0, sync_lookahead=0, mbtree=0)
    else:
        parameters |= dict(bframes=structure.gop_size - 1, b_adapt=0, b_pyramid="normal")
    text = _key_value(parameters).replace("_", "-")
    return {"preset": preset, "crf": f"{quality:g}", "x264-params": text} | ({"tune": tune} if tune else {})


def _x265(structure: CodingStructure, preset: str, quality: float, tune: str, control: str = "crf") -> Options:
    parameters: dict[str, object] = dict(
        keyint=_keyint(structure), min_keyint=_keyint(structure), scenecut=0, open_gop=0, pools="none", frame_threads=1
    )
    if structure.gop_size == 1:
        parameters |= dict(bframes=0, b_adapt=0, rc_lookahead=0, cutree=0)
    else:
        lookahead = max(20, structure.gop_size)
        parameters |= dict(bframes=structure.gop_size - 1, b_adapt=0, b_pyramid=1, rc_lookahead=lookahead)
    text = _key_value(parameters | {control: f"{quality:g}", "log_level": "none"}).replace("_", "-")
    return {"preset": preset, "x265-params": text} | ({"tune": tune} if tune else {})


def _hevc_intra(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    return _x265(CodingStructure(1), preset, quality, tune, control="qp")


def _svtav1(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    parameters: dict[str, object] = {"keyint": _keyint(structure), "scd": 0, "lp": 1, "tune": 1}  # for PSNR
    if structure.gop_size == 1:
        parameters["pred-struct"] = 1
    else:
        parameters |= {"pred-struct": 2, "hierarchical-levels": structure.gop_size.bit_length() - 1}
    return {"preset": preset, "crf": f"{quality:g}", "svtav1-params": _key_value(parameters)}


def _vp9(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    keyint = str(_keyint(structure))
    options = {
        "deadline": "good",
        "cpu-used": preset,
        "crf": f"{quality:g}",
        "b": "0",
        "g": keyint,
        "keyint_min": keyint,
    }
    low_delay = structure.gop_size == 1
    options |= {"lag-in-frames": "0" if low_delay else "25", "auto-alt-ref": "0" if low_delay else "1"}
    return options | {"threads": "1", "row-mt": "0"}


def _bpg(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    return {"qp": f"{quality:.0f}"}


INTRA_QP = (37.0, 32.0, 27.0, 22.0)
INTRA_LMDAS = (256.0, 512.0, 1024.0, 2048.0)
# Chosen so that all codecs cover about the same qualities, as BD-rates between them need.
CRF_H264 = (17.0, 21.0, 25.0, 29.0, 33.0, 37.0)
CRF_HEVC = (20.0, 24.0, 28.0, 32.0, 36.0, 40.0)
CRF_AV1 = (24.0, 32.0, 40.0, 48.0, 56.0, 63.0)
CRF_VP9 = (26.0, 34.0, 42.0, 50.0, 58.0, 63.0)

X26_FAST = ("ultrafast", "superfast", "veryfast", "faster", "fast")
X26_PRESETS = (*X26_FAST, "medium", "slow", "slower", "veryslow", "placebo")
X26_LIMITS = (0.0, 51.0)
NO_SEI_H264, NO_SEI_HEVC = "filter_units=remove_types=6", "filter_units=remove_types=39|40"

ENCODERS = {
    "x264": Encoder(
        "libx264",
        "h264",
        ("veryfast", "medium"),
        CRF_H264,
        _x264,
        X26_PRESETS,
        X26_LIMITS,
        tunes=True,
        filter=NO_SEI_H264,
    ),
    "x265": Encoder(
        "libx265",
        "hevc",
        ("veryfast", "medium"),
        CRF_HEVC,
        _x265,
        X26_PRESETS,
        X26_LIMITS,
        tunes=True,
        filter=NO_SEI_HEVC,
    ),
    "svtav1": Encoder(
        "libsvtav1",
        "obu",
        ("10", "6"),
        CRF_AV1,
        _svtav1,
        tuple(map(str, range(-1, 14))),
        (1.0, 63.0),
        whole=True,
        gops=(4, 32),
        write=write_av1,
    ),
    "vp9": Encoder(
        "libvpx-vp9",
        "ivf",
        ("5", "2"),
        CRF_VP9,
        _vp9,
        tuple(map(str, range(6))),
        (0.0, 63.0),
        whole=True,
        gops=(2, NEVER),
    ),
    "hevc-intra": Encoder(
        "libx265",
        "hevc",
        ("medium",),
        INTRA_QP,
        _hevc_intra,
        X26_PRESETS,
        X26_LIMITS,
        whole=True,
        tunes=True,
        filter=NO_SEI_HEVC,
        intra=True,
        lmdas=INTRA_LMDAS,
    ),
    "bpg": Encoder(
        "bpgenc",
        "bpg",
        ("",),
        INTRA_QP,
        _bpg,
        (),
        X26_LIMITS,
        whole=True,
        intra=True,
        lmdas=INTRA_LMDAS,
        write=write_bpg,
        read=read_bpg,
        bundle=_libbpg,
    ),
}
