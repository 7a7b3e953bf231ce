"""Checkpoints: one safetensors file holds any nesting of tensors and plain values, exactly, and never a pickle.

Tensors are entries of the file under their path in the nesting (``model.intra_codec.g_a.0.weight``), so other programs
can read them. Everything else, and the shape of the nesting, is one JSON text in the file's metadata; a CRC-32 over
that text and over every tensor makes damage a clear error instead of a slightly different model.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import warnings
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torchDVC.util.errors import CheckpointError, did_you_mean, first_line
from torchDVC.util.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIX = ".safetensors"
FOLDER = "checkpoints"
"""Where a run's checkpoints stand in its folder."""
LAST = f"last{SUFFIX}"
"""The one that it goes on from."""
_STATE_KEY = "torchDVC.state"
_CRC_KEY = "torchDVC.crc32"
_NAMES_SHOWN = 3


def save(path: str | Path, state: Any) -> None:
    """Write ``state`` to ``path``, whole or not at all.

    ``state`` may nest mappings (with any plain keys), lists and tuples of tensors (any dtype, device or layout), ints,
    floats, strings, bools, bytes and None. Raises `TypeError` naming the entry for anything else, and `OSError` naming
    ``path`` when the disk is full or the folder is not writable.
    """
    from safetensors.torch import save as serialise

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, "", tensors), separators=(",", ":"))
    metadata = {_STATE_KEY: text, _CRC_KEY: f"{_crc32(text, tensors):08x}"}
    data = serialise(tensors, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def load(path: str | Path) -> Any:
    """Read what `save` wrote, tensors on the CPU. Raises `CheckpointError` naming a missing, damaged or foreign file.

    Mappings come back as dicts in their order with their keys' types; floats and tensors to the bit.
    """
    tensors, metadata = _read_safetensors(Path(path))
    if _STATE_KEY not in metadata or _CRC_KEY not in metadata:
        raise CheckpointError(f"{path}: not a checkpoint of torchDVC, but a safetensors file of another program")
    if metadata[_CRC_KEY] != f"{_crc32(metadata[_STATE_KEY], tensors):08x}":
        raise CheckpointError(f"{path}: damaged: its contents do not match their checksum")
    try:
        return _unpack(json.loads(metadata[_STATE_KEY]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise CheckpointError(f"{path}: damaged: its description of its contents makes no sense") from error


def load_text(path: str | Path, key: str) -> str:
    """A text that the mapping in a file of `save` has under ``key``, "" if none; quick, as it reads no tensor.

    The file is not checked for damage. Raises `CheckpointError` where it is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    _require_file(Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {}).get(_STATE_KEY, "null"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged, or not a safetensors file ({first_line(error)})") from error
    match state:
        case {"dict": list(items)}:
            texts = [item[1] for item in items if isinstance(item, list) and len(item) == 2 and item[0] == key]
            return next((text for text in texts if isinstance(text, str)), "")
    return ""


def load_foreign(path: str | Path) -> Any:
    """Read weights of another program: a safetensors file (a flat dict), a ``.pth``/``.pt``/``.tar`` of PyTorch, or a
    folder of numpy arrays (``.npy``), each a tensor by its name.

    Pickles are read by PyTorch's restricted reader, which builds tensors and plain containers only; a file that asks
    for more is refused and nothing in it runs. Raises `CheckpointError` naming the file.
    """
    path = Path(path)
    if path.is_dir():
        return {file.stem: _read_array(file) for file in sorted(path.glob("*.npy"))}
    if path.suffix == SUFFIX:
        return _read_safetensors(path)[0]
    _require_file(path)
    with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"{path}: {_why_refused(str(error))}") from error
        except Exception as error:  # a damaged pickle can fail in any way; none of them is worth more than this line
            raise CheckpointError(f"{path}: damaged, or not a checkpoint of PyTorch ({first_line(error)})") from error


def _read_array(path: Path) -> Tensor:
    import numpy as np

    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except Exception as error:  # damage in the header of an array can fail in any way, too
        raise CheckpointError(f"{path}: damaged, or not an array of numpy ({first_line(error)})") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy ``tensors`` into the parameters and buffers of ``module``, all of them and nothing else.

    ``where`` (a file name) begins the message of the `CheckpointError` that lists, in one line, names that are missing
    or unexpected and tensors of another shape or kind. Nothing is copied in that case.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    clashes = [_clash(name, tensors[name], own[name]) for name in own if name in tensors]
    problems = [
        _listing("missing", missing),
        _listing("unexpected", [f"{name}{did_you_mean(name, missing)}" for name in unexpected[:_NAMES_SHOWN]],
                 len(unexpected)),
        _listing("of another form", [clash for clash in clashes if clash]),
    ]
    if any(problems):
        found = "; ".join(problem for problem in problems if problem)
        raise CheckpointError(f"{where}: does not fit {type(module).__name__} ({len(own)} tensors): {found}")
    module.load_state_dict(dict(tensors))


def last(folder: str | Path) -> Path:
    """The checkpoint that a run goes on from, of its folder or of its folder of checkpoints, whatever their times say.

    A single checkpoint of another name is it, too. Raises `CheckpointError` that tells which there are else.
    """
    places = [Path(folder), Path(folder) / FOLDER]
    found = [path for place in places for path in sorted(place.glob(f"*{SUFFIX}")) if not path.name.startswith(".")]
    named = [path for path in found if path.name == LAST] or found
    if len(named) == 1:
        return named[0]
    if not found:
        raise CheckpointError(f"{folder}: no checkpoint (*{SUFFIX}) here")
    raise CheckpointError(f"{folder}: no {LAST} here; expected the name of one: {_listed([p.name for p in found])}")


def epoch_name(epoch: int) -> str:
    """The name, without `SUFFIX`, of the checkpoint that is kept after ``epoch`` epochs of a run."""
    return f"epoch_{epoch:04}"


def sha256(path: str | Path, digits: int = 12) -> str:
    """The first ``digits`` hexadecimal digits of the SHA-256 of a file: names a checkpoint in results."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:digits]


# --- the nesting as JSON: plain values stand for themselves, everything else is {kind: contents}


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON; its tensors go to ``tensors`` under names made from their ``path``."""
    match value:
        case torch.Tensor():
            return _pack_tensor(value, path, tensors)
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if value - value == 0 else {"float": struct.pack(">d", value).hex()}
        case bytes() | bytearray():
            return {"bytes": value.hex()}
        case Mapping():
            return {"dict": [[_pack(key, path, {}), _pack(item, _join(path, key), tensors)]
                             for key, item in value.items()]}
        case list() | tuple():
            items = [_pack(item, _join(path, index), tensors) for index, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        case _:
            raise TypeError(f"a checkpoint cannot hold {path or 'this state'}: a {type(value).__qualname__}")


def _pack_tensor(tensor: Tensor, path: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """File a contiguous copy on the CPU. Channels-last layout is noted: optimizers need their state in it again."""
    name = path or "tensor"
    while name in tensors:
        name += "'"
    tensors[name] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        return {"channels_last": name}
    return {"tensor": name}


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_pack`."""
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, contents),) = value.items()
    match kind:
        case "tensor":
            return tensors[contents]
        case "channels_last":
            return tensors[contents].contiguous(memory_format=torch.channels_last)
        case "float":
            return struct.unpack(">d", bytes.fromhex(contents))[0]
        case "bytes":
            return bytes.fromhex(contents)
        case "tuple":
            return tuple(_unpack(item, tensors) for item in contents)
        case _:
            return {_unpack(key, tensors): _unpack(item, tensors) for key, item in contents}


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _crc32(text: str, tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of the JSON text, then of each tensor's name, form and bytes, by name."""
    crc = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


# --- reading and reporting


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a safetensors file, in memory of its own, and the file's metadata."""
    from safetensors import SafetensorError, safe_open

    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged, or not a safetensors file ({first_line(error)})") from error


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    if path.exists():
        raise CheckpointError(f"{path}: not a file; expected a checkpoint")
    beside: list[str] = []
    with suppress(OSError):
        beside = [other.name for other in path.parent.iterdir() if other.suffix == path.suffix]
    raise CheckpointError(f"{path}: no such checkpoint{did_you_mean(path.name, beside)}")


def _why_refused(message: str) -> str:
    """PyTorch's page of advice on a refused pickle, as a clause."""
    asked = re.search(r"(?:GLOBAL|Unsupported (?:global|class)\w*:?)\s+`?([\w.]+)", message)
    if asked is None:
        return "refused by PyTorch's restricted reader: damaged, or it holds more than tensors and plain values"
    return f"refused: it asks for {asked[1]}, which could run code; expected tensors and plain values only"


def _clash(name: str, given: Tensor, own: Tensor) -> str:
    """What keeps ``given`` from being copied into ``own``, or nothing."""
    if given.shape != own.shape:
        return f"{name} is {tuple(given.shape)}, expected {tuple(own.shape)}"
    if given.is_floating_point() != own.is_floating_point():
        return f"{name} is {given.dtype}, expected {own.dtype}"
    return ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + ", …" * (len(names) > _NAMES_SHOWN)


def _listing(what: str, names: list[str], count: int | None = None) -> str:
    """``2 missing (a, b)``, ``9 unexpected (a, b, c, …)`` or, of none, nothing."""
    count = len(names) if count is None else count
    more = ", …" if count > _NAMES_SHOWN else ""
    return f"{count} {what} ({', '.join(names[:_NAMES_SHOWN])}{more})" if count else ""
