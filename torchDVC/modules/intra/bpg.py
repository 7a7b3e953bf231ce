"""BPG as the intra codec of a model."""

from __future__ import annotations

import numpy as np

from torchDVC.config.registry import codec_module
from torchDVC.dataset.bpg import decode_bpg, encode_bpg
from torchDVC.modules.intra.conventional import ConventionalIntra
from torchDVC.util.errors import BitstreamError, DataError


@codec_module(encoder_reads="frame", writes="recon", codes=True, from_zero="qp", formats="rgb")
class BPGIntra(ConventionalIntra):
    """BPG pictures by libbpg's ``bpgenc`` and ``bpgdec``, which the user installs; 4:4:4.

    Args:
        qp: quantiser parameter, 0 to 51; see `ConventionalIntra`.
    """

    def __init__(self, qp: int = 22) -> None:
        super().__init__(qp)

    def encode(self, picture: np.ndarray) -> bytes:
        return encode_bpg(picture, self.qp)

    def decode(self, data: bytes, width: int, height: int) -> np.ndarray:
        try:
            return decode_bpg(data)
        except DataError as error:  # of what bpgdec made of it
            raise BitstreamError(f"damaged BPG picture: {error}") from error
