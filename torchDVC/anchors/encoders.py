"""The anchor codecs' encoders, in settings matched to a learned codec's test.

Every video encoder runs in one thread at a constant quality, with intra frames exactly where the coding structure has
them (no scene-cut detection, closed GOPs) and as many B frames between two others as a GOP of the structure holds.
"""

from __future__ import annotations

from functools import partial

from torchDVC.anchors.coded_files import read_av, read_bpg, write_av, write_av1, write_bpg
from torchDVC.anchors.encoder import Encoder, Options
from torchDVC.coding_structure import CodingStructure

NEVER = 1 << 15  # frames; as an intra period, longer than any clip


def _libbpg() -> str:
    from torchDVC.dataset.bpg import bpg_version

    return bpg_version()


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


def _x265(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    parameters: dict[str, object] = dict(
        keyint=_keyint(structure), min_keyint=_keyint(structure), scenecut=0, open_gop=0, pools="none", frame_threads=1
    )
    if structure.gop_size == 1:
        parameters |= dict(bframes=0, b_adapt=0, rc_lookahead=0, cutree=0)
    else:
        lookahead = max(20, structure.gop_size)
        parameters |= dict(bframes=structure.gop_size - 1, b_adapt=0, b_pyramid=1, rc_lookahead=lookahead)
    text = _key_value(parameters | {"crf": f"{quality:g}", "log_level": "none"}).replace("_", "-")
    return {"preset": preset, "x265-params": text} | ({"tune": tune} if tune else {})


def _hevc_intra(structure: CodingStructure, preset: str, quality: float, tune: str) -> Options:
    from torchDVC.modules.intra.hevc import intra_options

    return intra_options(preset, quality) | ({"tune": tune} if tune else {})


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

_of_ffmpeg = partial(Encoder, write=write_av, read=read_av)

ENCODERS = {
    "x264": _of_ffmpeg(
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
    "x265": _of_ffmpeg(
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
    "svtav1": _of_ffmpeg(
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
    "vp9": _of_ffmpeg(
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
    "hevc-intra": _of_ffmpeg(
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
        pictures="yuv444",
        bundle=_libbpg,
    ),
}
