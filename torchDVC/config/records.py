"""What configuration files become: frozen records. Nothing downstream sees a csv row or a dict of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchDVC.coding_structure import ByFrame
from torchDVC.config.arguments import levels_of
from torchDVC.config.picture_formats import RGB
from torchDVC.config.registry import ModuleType

LossExpression = tuple[tuple[float, str], ...]
"""A sum of weighted terms: ``((1.0, "distortion"), (0.5, "mc_distortion"))``; empty for None."""

MODES = {"imode": "I", "pmode": "P", "bmode": "B"}
"""The keys that hold mode strings, and the frame type each is for."""


@dataclass(frozen=True)
class ModuleSpec:
    """One line of a model csv.

    Attributes:
        code: the letter that stands for the module in mode strings.
        name: the module's attribute name and checkpoint prefix.
        args: arguments of the type's ``__init__``; those left out keep their defaults.
        weights: the file or folder of what it starts from; see `torchDVC.models.checkpoints.load_foreign`.
        where: ``file:line`` of the line.
    """

    code: str
    name: str
    type: ModuleType
    args: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    where: str = ""

    @property
    def label(self) -> str:
        """What the module's rate is called: its name without a trailing ``_codec``."""
        return self.name.removesuffix("_codec")

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


@dataclass(frozen=True)
class ModelConfig:
    """A model csv: the modules a codec has, and the picture format that it works in."""

    name: str
    path: Path
    modules: tuple[ModuleSpec, ...]
    format: str = RGB

    @property
    def levels(self) -> dict[int, list[ModuleSpec]]:
        """The numbers of quality levels above 1 that modules have, and which; more than one number is a mistake."""
        found: dict[int, list[ModuleSpec]] = {}
        for module in self.modules:
            for levels in set(levels_of(module.type, module.args)):
                found.setdefault(levels, []).append(module)
        return found

    def by_code(self, code: str) -> ModuleSpec:
        """The module of a letter; `KeyError` if there is none."""
        return {module.code: module for module in self.modules}[code]

    def by_name(self, name: str) -> ModuleSpec:
        """The module of a name; `KeyError` if there is none."""
        return {module.name: module for module in self.modules}[name]

    def of_codes(self, codes: str) -> tuple[ModuleSpec, ...]:
        """The modules of several letters, in that order."""
        return tuple(map(self.by_code, codes))


def levels_said(levels: Mapping[int, Sequence[ModuleSpec]]) -> str:
    """Unequal quality levels in words."""
    return ", ".join(f"{count} of {' and '.join(map(str, modules))}" for count, modules in levels.items())


@dataclass(frozen=True)
class Modes:
    """Which modules run on I, P and B frames, and what the frames of a sequence do to one another.

    Attributes:
        imode, pmode, bmode: strings of module codes; empty: no such frames.
        references: I and P frames that a P frame refers to, where there are so many.
        feature_reset: so many frames after an I frame, and again after as many, only pictures are handed on; 0: never.
        quality_offsets: what an encoder adds to the quality level of each frame.
        rdoq: how far an encoder chooses latents by their rate; see `torchDVC.entropy.streams.SymbolStream`.
        where: ``file:line`` of the section.
    """

    name: str
    imode: str = ""
    pmode: str = ""
    bmode: str = ""
    references: int = 1
    feature_reset: int = 0
    quality_offsets: ByFrame = ByFrame((0,))
    rdoq: float = 0.0
    where: str = ""

    @property
    def types(self) -> str:
        """The frame types that have a mode."""
        return "".join(filter(self.of, "IPB"))

    def of(self, frame_type: str) -> str:
        """The mode string of ``"I"``, ``"P"`` or ``"B"`` frames."""
        return {"I": self.imode, "P": self.pmode, "B": self.bmode}[frame_type]

    @property
    def codes(self) -> str:
        """Every code of the three modes, once."""
        return "".join(dict.fromkeys(self.imode + self.pmode + self.bmode))


@dataclass(frozen=True)
class Process(Modes):
    """A ``[process: …]`` of a test cfg."""


@dataclass(frozen=True)
class Stage(Modes):
    """A ``[process: …]`` of a train cfg: what is trained, on what, with which loss.

    Attributes:
        epochs: how many epochs the stage lasts.
        steps: batches in an epoch; None takes the whole data set once.
        train: codes of the modules that learn; the others are frozen and in eval mode.
        rnn: references are 0 source frames, 1 reconstructions (detached), 2 reconstructions with their gradients.
        val_rnn: the same in validation; None takes ``rnn``.
        pairs: a name of `torchDVC.coding_structure.STEPS`, or a list for `torchDVC.coding_structure.parse_pairs`.
        loss_r, loss_d: rate and distortion terms; the loss is R + lmda * D, or R alone with ``only_rate``, or lmda * D
            alone with ``only_distortion``.
        distortion: a name of `torchDVC.models.distortions`; ``frame_weights`` is what each frame's counts.
        parts: of trained modules of which only parts learn, ``<code>.<name of the part>``.
        freeze: patterns of names of parameters, or of parts, that are not trained.
        options: what the stage sets of its modules' options, by ``<name of the module>.<name of the option>``.
        yuv_weights: what the distortions of Y, U and V count in D, where the codec works in YUV.
        lr: learning rate of every module, by module name.
        aux_lr: learning rate of the entropy bottlenecks' quantiles.
        lr_schedule: how learning rates go on, as `torchDVC.training.schedule.lr_factor` does; ``lr_decay`` its factor,
            ``lr_steps`` the epochs after which "step" applies it, ``lr_patience`` the validations that "plateau" waits,
            ``lr_final`` the share that "cosine" ends at; ``lr_warmup`` steps of a linear rise come first.
        optimizer: "adam", "adamw" or "sgd", with ``weight_decay``; ``grad_clip`` bounds the norm of the gradient.
        ema: decay of the moving average of the weights; 0 keeps none.
        patch_size: side of the training crops in pixels; ``frames`` their length.
        data: training data, as `torchDVC.dataset.training.training_set` names it; ``cut`` the part of it to take.
        reverse_rate: share of the clips that run backwards.
        frame_distance: neighbouring frames of a clip are 1 to so many frames apart.
        forth_and_back: clips that are too short are played forth and back.
        brightness: values of a clip are multiplied by up to 1 +- this.
        gray_intra: share of the clips whose first frame is grey.
        lmda: range of the Lagrangian, equal ends for one value; None takes the ``--lmda`` flag.
        adapt: the runs of further Lagrangians begin at this stage, from the first run's weights.
        update: an optimizer's step comes after each "clip", or after each "frame" that a trained module codes.
        truncate: gradients go back over so many of these frames; None: over all.
        checkpointing: activations are computed again for the gradients, instead of being kept.
        accumulate: a batch is taken in so many parts, whose gradients are added.
        rnn_grad_clip: largest norm of a gradient that passes from a frame to its reference; 0: any.
        places: ``file:line`` of each key that the cfg gives.
    """

    epochs: int = 1
    steps: int | None = None
    batch_size: int = 4
    train: str = ""
    rnn: int = 0
    val_rnn: int | None = None
    pairs: str = "step1"
    loss_r: LossExpression = ((1.0, "rate"),)
    loss_d: LossExpression = ((1.0, "distortion"),)
    distortion: str = "mse"
    frame_weights: ByFrame = ByFrame((1.0,))
    yuv_weights: tuple[float, float, float] = (6.0, 1.0, 1.0)
    lr: Mapping[str, float] = field(default_factory=dict)
    aux_lr: float = 1e-3
    lr_schedule: str = "exponential"
    lr_decay: float = 1.0
    lr_steps: tuple[int, ...] = ()
    lr_patience: int = 2
    lr_final: float = 0.0
    lr_warmup: int = 0
    optimizer: str = "adam"
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    ema: float = 0.0
    patch_size: int = 256
    frames: int = 2
    data: str = "default"
    cut: str | None = None
    reverse_rate: float = 0.0
    frame_distance: int = 1
    forth_and_back: bool = False
    brightness: float = 0.0
    gray_intra: float = 0.0
    lmda: tuple[float, float] | None = None
    only_rate: bool = False
    only_distortion: bool = False
    parts: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "auto"
    memory_format: str = "auto"
    adapt: bool = False
    update: str = "clip"
    truncate: int | None = None
    checkpointing: bool = False
    accumulate: int = 1
    rnn_grad_clip: float = 0.0
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def rate_terms(self) -> LossExpression:
        """The terms of R that are minimised."""
        return () if self.only_distortion else self.loss_r

    @property
    def distortion_terms(self) -> LossExpression:
        """The terms of D that are minimised."""
        return () if self.only_rate else self.loss_d

    def counts(self, frame_type: str) -> bool:
        """Whether a trained module runs on frames of a type, which the loss is of then."""
        return not set(self.of(frame_type)).isdisjoint(self.train)

    def place(self, key: str) -> str:
        """``file:line`` of a key of the cfg; where it is not given, of the stage."""
        return self.places.get(key, self.where)


@dataclass(frozen=True)
class TrainConfig:
    """A train cfg: its stages in order."""

    name: str
    path: Path
    stages: tuple[Stage, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def first_epoch(self, stage: Stage) -> int:
        """The global epoch that a stage begins with."""
        return sum(earlier.epochs for earlier in self.stages[: self.stages.index(stage)])

    def stage_at(self, epoch: int) -> tuple[int, int]:
        """The index of the stage that global ``epoch`` (from 0) falls into, and the epoch within that stage.

        Raises `IndexError` for an epoch that the run does not have.
        """
        for index, stage in enumerate(self.stages):
            if 0 <= epoch < stage.epochs:
                return index, epoch
            epoch -= stage.epochs
        raise IndexError(f"no epoch {epoch + self.epochs} in {self.epochs}")


@dataclass(frozen=True)
class TestConfig:
    """A test cfg: what to measure and write, and the frame-type set-ups to do it with.

    Attributes:
        frames: frames of each sequence to code; None takes all.
        data: data sets to test on where ``--test_datasets`` names none.
        matrix: colour matrix of the clips, bt709 or bt601, whatever they say; None takes what they say, else bt709.
        images: write reconstructed frames and maps (``--no_image`` overrides).
        ms_ssim: measure MS-SSIM beside PSNR.
    """

    __test__ = False

    name: str
    path: Path
    processes: tuple[Process, ...]
    frames: int | None = None
    data: tuple[str, ...] = ("procedural",)
    matrix: str | None = None
    images: bool = True
    ms_ssim: bool = True
