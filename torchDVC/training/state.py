"""The state of a run: what a checkpoint holds, so that training goes on from it to the same weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torchDVC.models import checkpoints
from torchDVC.models.codec import Codec
from torchDVC.training.position import Position, check_conditions
from torchDVC.training.randomness import rng_state, set_rng_state
from torchDVC.training.schedule import Plateau
from torchDVC.training.updater import Updater
from torchDVC.util.errors import CheckpointError


@dataclass
class RunState:
    """Everything that decides what the next step does.

    Attributes:
        conditions: what a run may not change when it goes on, as text (`torchDVC.training.position.conditions`).
        codec, updater: the weights, and what updates them.
        plateau: how validation went in the stage.
        position: the next step.
        data: which clips each name of a training set stood for.
        arithmetic: what each stage chose to compute in, by its name (`torchDVC.util.arithmetic`).
    """

    conditions: dict[str, str]
    codec: Codec
    updater: Updater
    position: Position
    plateau: Plateau = field(default_factory=Plateau)
    data: dict[str, str] = field(default_factory=dict)
    arithmetic: dict[str, str] = field(default_factory=dict)

    def pack(self) -> dict[str, Any]:
        """For `torchDVC.models.checkpoints.save`."""
        return {
            "conditions": self.conditions,
            "data": self.data,
            "arithmetic": self.arithmetic,
            "position": asdict(self.position),
            "model": self.codec.state_dict(),
            "rng": rng_state(),
            "plateau": asdict(self.plateau),
            **self.updater.pack(),
        }

    def unpack(self, packed: Any, where: str) -> None:
        """Be what `pack` gave. Raises `CheckpointError`, naming ``where``, for what is of no run or of another one."""
        if not isinstance(packed, dict) or "position" not in packed:
            raise CheckpointError(f"{where}: not a checkpoint of a training run; expected one that trainer.py wrote")
        check_conditions(packed["conditions"], self.conditions, where)
        checkpoints.load_weights(self.codec, packed["model"], where)
        self.updater.unpack(packed)
        vars(self.plateau).update(packed["plateau"])
        vars(self.position).update(packed["position"])
        self.data.update(packed["data"])
        self.arithmetic.update(packed["arithmetic"])
        set_rng_state(packed["rng"])
