"""What the modules of a mode string hand to one another while a frame is coded."""

from __future__ import annotations

from torch import Tensor


class FrameState(dict[str, Tensor]):
    """Named tensors of the frame being coded, and what encoder and decoder both know about it.

    Keys that the codec itself gives: ``frame`` (N, 3, H, W), the source, RGB in [0, 1], in the encoder only; ``refs``
    (N, R, 3, H, W), the references, R = 1 for P and 2 for B frames. H and W are multiples of 64.

    Attributes:
        batch: N.
        height, width: H and W, padded.
        quality: (N,) quality level of each picture, int64.
    """

    def __init__(self, batch: int, height: int, width: int, quality: Tensor) -> None:
        super().__init__()
        self.batch, self.height, self.width, self.quality = batch, height, width, quality

    def size(self, references: int = 1) -> tuple[int, int, int]:
        """Batch, height and width of what is coded once for each of ``references`` references."""
        return self.batch * references, self.height, self.width
