"""The state of a run: what a checkpoint holds, so that training goes on from it to the same weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.training.optimization import Updater
from torchDVC.training.position import Position, check_conditions
from torchDVC.util.errors import CheckpointError


@dataclass
class RunState:
    """Everything that decides what the next step does.

    Attributes:
        conditions: what a run may not change when it goes on, as text (`torchDVC.training.position.conditions`).
        codec, updater: the weights; the optimizer, its scaler and the count of skipped steps.
        position: the next step.
        data: which clips each name of a training set stood for.
    """

    conditions: dict[str, str]
    codec: Codec
    updater: Updater
    position: Position
    data: dict[str, str] = field(default_factory=dict)

    def pack(self) -> dict[str, Any]:
        """For `torchDVC.models.checkpoints.save`."""
        return {
            "conditions": self.conditions,
            "data": self.data,
            "position": asdict(self.position),
            "skipped": self.updater.skipped,
            "model": self.codec.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "scaler": self.updater.scaler.state_dict(),
            "rng": checkpoints.rng_state(),
        }

    def unpack(self, packed: Any, where: str) -> None:
        """Be what `pack` gave. Raises `CheckpointError`, naming ``where``, for what is of no run or of another one."""
        if not isinstance(packed, dict) or "position" not in packed:
            raise CheckpointError(f"{where}: not a checkpoint of a training run; expected one that trainer.py wrote")
        check_conditions(packed["conditions"], self.conditions, where)
        checkpoints.load_weights(self.codec, packed["model"], where)
        self.updater.optimizer.load_state_dict(packed["optimizer"])
        if packed["scaler"]:  # empty where no stage had used it yet
            self.updater.scaler.load_state_dict(packed["scaler"])
        vars(self.position).update(packed["position"])
        self.data.update(packed.get("data", {}))
        self.updater.skipped = packed["skipped"]
        checkpoints.set_rng_state(packed["rng"])
