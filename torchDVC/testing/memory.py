"""Peak memory of an encoder and of a decoder, each measured in a process of its own: a process never gives it back.

``python -m torchDVC.testing.memory {encode,decode} …`` is such a process; `peak_memory` starts both.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from torchDVC.bitstream.container_reader import ContainerReader
from torchDVC.bitstream.container_writer import write_container
from torchDVC.bitstream.streams import header_of, read_frames, write_frames
from torchDVC.coding_structure import CodingStructure
from torchDVC.dataset.frame import VideoInfo
from torchDVC.models.model_file import Model, load_model, save_model
from torchDVC.util.arithmetic import CODING
from torchDVC.util.errors import run_command

PACKAGE_FOLDER = Path(__file__).resolve().parents[2]
MOST_FRAMES = 9
"""Frames that are coded: an I frame and a GOP after it, but no more than these."""
MEBI = 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """Under which conditions memory is measured."""

    width: int
    height: int
    intra_period: int
    gop_size: int
    quality: int
    device: str
    precision: str


def peak_memory(model: Model, setting: Setting) -> dict[str, float]:
    """Columns of a row: peak MiB that coding takes, on top of Python and PyTorch, and on a GPU where there is one.

    Without columns, and with a warning, where a process fails.
    """
    columns: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder, "model.safetensors"), model)
        for task in ("encode", "decode"):
            finished = subprocess.run(
                [sys.executable, "-m", __name__, task, folder, json.dumps(asdict(setting))],
                capture_output=True, text=True, check=False, env=_environment(),
            )  # fmt: skip
            if finished.returncode:
                why = finished.stderr.strip().splitlines() or [f"its process ended with {finished.returncode}"]
                _log.warning("the memory to %s is not known: %s", task, why[-1])
                return {}
            columns |= {f"{name}_{task}": peak for name, peak in json.loads(finished.stdout).items()}
    return columns


def shown(setting: Setting, columns: Mapping[str, float]) -> str:
    """The columns in words."""
    found = ", ".join(f"{name.replace('_', ' ')} {peak:.0f} MiB" for name, peak in columns.items())
    return f"peak at {setting.width}x{setting.height}: {found or 'not known'}"


def _environment() -> dict[str, str]:
    """What lets the child import this package."""
    path = [str(PACKAGE_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


# --- in the child


def main(task: str, folder: Path, setting: Setting) -> None:
    """Encode a short clip into the folder, or decode it, with the model there; print what it took in MiB as JSON."""
    before = _resident_peak()
    model, stream = load_model(folder / "model.safetensors"), folder / "clip.lcp"
    device = torch.device(setting.device)
    model.codec.compute_in(replace(CODING, precision=setting.precision), device)
    if task == "encode":
        _encode(model, stream, setting, device)
    else:
        with ContainerReader(stream) as reader:
            for _ in read_frames(model, reader):
                pass
    taken = {"memory": (_resident_peak() - before) / MEBI}
    if device.type == "cuda":
        taken["device_memory"] = torch.cuda.max_memory_allocated(device) / MEBI
    print(json.dumps(taken))


def _encode(model: Model, stream: Path, setting: Setting, device: torch.device) -> None:
    structure = CodingStructure(setting.intra_period, setting.gop_size)
    info = VideoInfo(setting.width, setting.height)
    with write_container(stream, header_of(model, info, structure, setting.quality)) as writer:
        for _ in write_frames(model, writer, map(model.codec.format.from_rgb, _moving_ramp(setting, device))):
            pass


def _moving_ramp(setting: Setting, device: torch.device) -> Iterator[Tensor]:
    """RGB pictures (1, 3, H, W), uint8, of a ramp that moves to the right."""
    ramp = torch.linspace(0, 255, setting.width, device=device).to(torch.uint8)
    ramp = ramp.expand(1, 3, setting.height, setting.width)
    for index in range(min(1 + max(setting.gop_size, 2), MOST_FRAMES)):
        yield ramp.roll(index, -1)


def _resident_peak() -> int:
    """Bytes. On Linux ``getrusage`` would tell the peak of the parent, where that was higher."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1], Path(sys.argv[2]), Setting(**json.loads(sys.argv[3])))))
