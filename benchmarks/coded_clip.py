"""A model and a clip to code with it: the flags that name them, and both opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchDVC.config.flags import flag
from torchDVC.config.values import existing_path, whole, words

if TYPE_CHECKING:
    from torchDVC.models.model_file import Model


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    model: str = flag(words, "model file, or the name of one that is kept", metavar="FILE")
    input: Path = flag(existing_path, "clip", metavar="CLIP")
    frames: int = flag(whole(1), "the first so many", metavar="N", default=8)
    gop_size: int = flag(whole(1), "1 for low delay", metavar="N", default=4)

    def opened(self) -> tuple[Model, list[Tensor]]:
        """The model, and the clip's pictures as it takes them, (1, C, H, W) each."""
        from torchDVC.dataset.video import open_video
        from torchDVC.models.model_store import open_model

        reader = open_video(self.input, frames=self.frames)
        model = open_model(self.model)
        return model, [model.codec.format.to_tensor(frame, torch.device("cpu")) for frame in reader]
