"""BPG pictures through libbpg's programs ``bpgenc`` and ``bpgdec``, where the user has installed them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from torchDVC.util.errors import BitstreamError, LCPError

HELP = "install libbpg (bellard.org/bpg, 'make && make install') so that bpgenc and bpgdec are on the PATH"
OPTIONS = ("-f", "444", "-m", "9")
"""4:4:4 and the slowest search, as learned video codecs use BPG for their I frames."""


def encode_bpg(picture: np.ndarray, qp: int) -> bytes:
    """A BPG file of a picture, uint8 RGB (3, H, W), at a quantiser parameter from 0 (best) to 51."""
    from torchDVC.dataset.pictures import write_png

    with tempfile.TemporaryDirectory() as folder:
        source, coded = Path(folder) / "source.png", Path(folder) / "coded.bpg"
        write_png(source, picture)
        _run("bpgenc", *OPTIONS, "-q", str(qp), "-o", str(coded), str(source))
        return coded.read_bytes()


def decode_bpg(data: bytes) -> np.ndarray:
    """The picture in a BPG file, uint8 RGB (3, H, W); `BitstreamError` where it is damaged."""
    from torchDVC.dataset.video import open_video

    with tempfile.TemporaryDirectory() as folder:
        coded, decoded = Path(folder) / "coded.bpg", Path(folder) / "decoded.png"
        coded.write_bytes(data)
        try:
            _run("bpgdec", "-o", str(decoded), str(coded))
        except subprocess.CalledProcessError as error:
            raise BitstreamError(f"damaged BPG picture: bpgdec says '{_said(error)}'") from None
        (frame,) = open_video(decoded)
        return frame.rgb


def bpg_version() -> str:
    """The first line of what ``bpgenc`` says of itself, such as ``BPG Image Encoder version 0.9.8``."""
    help_text = subprocess.run([_program("bpgenc"), "-h"], capture_output=True, text=True)
    return (help_text.stdout + help_text.stderr).strip().partition("\n")[0]


def _run(program: str, *arguments: str) -> None:
    path = _program(program)
    try:
        subprocess.run([path, *arguments], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        if program == "bpgdec":
            raise
        raise LCPError(f"bpgenc failed: {_said(error)}") from None


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise LCPError(f"{name} was not found; {HELP}")
    return path


def _said(error: subprocess.CalledProcessError) -> str:
    lines = (error.stderr or error.stdout or "nothing").strip().splitlines()
    return lines[-1]
