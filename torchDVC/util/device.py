"""Where and in which arithmetic the networks compute."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

import torch

from torchDVC.util.errors import ConfigError

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def choose_device(name: str) -> torch.device:
    """What ``auto``, ``cpu`` or ``cuda`` stands for here. Raises `ConfigError` for ``cuda`` where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["--device cuda: no CUDA device here; expected auto or cpu"])
    return torch.device("cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda")


def resolve_precision(precision: str, device: torch.device) -> str:
    """What ``auto`` stands for on a device: ``bf16-mixed`` where it computes in bf16 natively, else ``32``."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if native_bf16(device) else "32"


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context in which a forward pass runs in ``32``, ``bf16-mixed`` or ``16-mixed``."""
    if precision == "32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_AUTOCAST[precision])


def processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def described(device: torch.device) -> str:
    """All that decides how floating-point sums come out on a device."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"
    return f"{processor()}, threads: {torch.get_num_threads()}, PyTorch {torch.__version__}"


def native_bf16(device: torch.device) -> bool:
    """Whether a device says that it computes in bf16 itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
