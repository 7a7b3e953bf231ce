"""The weights that the intra codec starts from: compressai's, downloaded once into the cache."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from torchDVC.dvc_front.options import NO_WEIGHTS
from torchDVC.util.files import environment_folder

_log = logging.getLogger(__name__)


def cached(quality: int) -> Path:
    """Where the weights of a quality level are kept."""
    cache = environment_folder("TORCHDVC_CACHE", "~/.cache/torchDVC")
    return cache / "zoo" / f"bmshj2018-hyperprior-{quality}.safetensors"


def intra_weights(given: Path | str | None, quality: int, *, of_zoo: bool) -> Path | None:
    """The file that the intra codec starts from, or None; that there is none is said, once.

    Args:
        given: ``--intra_weights``.
        of_zoo: the intra codec is that of compressai's zoo, so that its weights may be downloaded.
    """
    if given is not None:
        return None if given == NO_WEIGHTS else Path(given)
    if not of_zoo:
        return None
    path = cached(quality)
    if path.exists():
        return path
    try:
        _download(quality, path)
    except Exception as error:  # whatever a download fails with, the weights can come from elsewhere
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        _log.warning(
            "compressai's bmshj2018-hyperprior of quality %d could not be downloaded (%s); --intra_weights may name a "
            "file of them", quality, reason,
        )  # fmt: skip
        return None
    return path


def _download(quality: int, path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # what compressai's import gives away is no concern of the user's
        from compressai.zoo import bmshj2018_hyperprior
    from safetensors.torch import save

    from torchDVC.util.files import atomic_path

    tensors = bmshj2018_hyperprior(quality, metric="mse", pretrained=True, progress=False).state_dict()
    data = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
