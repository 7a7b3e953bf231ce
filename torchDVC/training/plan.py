"""What is wrong with the stages of a run as far as it can be told before the first step: nothing is decoded for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from torchDVC.config import Stage
from torchDVC.config.command_line import TrainOptions
from torchDVC.dataset.frame import ReadOptions
from torchDVC.dataset.sources import cut_list
from torchDVC.dataset.testing import TestSequence
from torchDVC.dataset.training import listed_clips
from torchDVC.models.codec import Codec
from torchDVC.training.comet import comet_keys
from torchDVC.training.optimizers import full_name, named_by, parts_of, trained_parameters
from torchDVC.training.validation import frames_read, validation_sequences
from torchDVC.util.errors import ConfigError, DataError, nearest


def check_plan(stages: Sequence[Stage], options: TrainOptions, codec: Codec) -> None:
    """Raises one `ConfigError` with every problem of the stages to come, and of where their numbers are to go."""
    problems = [
        *_problems_of_codec(stages, codec),
        *_problems_of_data(stages, options),
        *_problems_of_validation(stages, options),
        *_problems_of_logging(options),
    ]
    if problems:
        raise ConfigError(dict.fromkeys(problems))


def _problems_of_codec(stages: Sequence[Stage], codec: Codec) -> Iterator[str]:
    for stage in stages:
        low, high = stage.lmda or (1.0, 1.0)
        if low != high and codec.levels == 1:
            yield f"{stage.place('lmda')}: lmda {low:g}:{high:g} needs modules with quality levels; see 'levels'"
        known = [name for name, _ in codec.named_parameters()]
        for pattern in stage.freeze:
            if not any(named_by(name)(full_name(codec, pattern)) for name in known):
                expected = f"expected a pattern of names such as {known[-1]}" if known else "expected no freeze"
                yield f"{stage.place('freeze')}: freeze '{pattern}' fits no parameter of the model; {expected}"
        for part in stage.parts:
            name = full_name(codec, part)
            if not any(f"{parameter}.".startswith(f"{name}.") for parameter in known):
                hint = nearest(part[2:], parts_of(codec, name.partition(".")[0]))
                yield f"{stage.place('train')}: train has '{part}', no part of that module{hint}"
        if not trained_parameters(codec, stage) and not _learns_by_coding(codec, stage):
            rest = f" but what freeze = {' '.join(stage.freeze)} names" if stage.freeze else ""
            yield f"{stage.place('train')}: train '{stage.train}' has nothing to learn{rest}; expected a network"


def _learns_by_coding(codec: Codec, stage: Stage) -> bool:
    """Whether a module that a stage trains has numbers that coding changes, such as adaptive contexts."""
    trained = (codec.get_submodule(codec.config.by_code(code).name) for code in stage.train)
    return any(getattr(part, "by_coding", False) for module in trained for part in module.modules())


def _problems_of_data(stages: Sequence[Stage], options: TrainOptions) -> Iterator[str]:
    listed, given = cache(listed_clips), ReadOptions(**options.said)
    for stage in stages:
        key = "data"
        try:
            clips = listed(stage.data, stage.frames, options.patch_size or stage.patch_size, given)
            key = "cut"
            cut_list(clips, stage.cut)
        except DataError as error:
            yield f"{stage.place(key)}: {error}"


def _problems_of_validation(stages: Sequence[Stage], options: TrainOptions) -> Iterator[str]:
    wanted = {stage.name: frames_read(stage, options.seed) for stage in stages}
    most = max(wanted.values(), default=1)
    try:
        sequences = validation_sequences(options)
        lengths = {_name(sequence): sequence.open(frames=most).info.frames for sequence in sequences}
    except DataError as error:
        yield str(error)
        return
    for stage in stages:
        least = wanted[stage.name]
        for name, length in lengths.items():
            if length is not None and length < least:
                yield (
                    f"{stage.place('frames')}: stage {stage.name} is validated on {least} frames, {name} has {length}; "
                    "expected longer clips (--test_datasets, --test_seqs) or less frames"
                )


def _problems_of_logging(options: TrainOptions) -> Sequence[str]:
    try:
        _ = options.no_comet or comet_keys()
    except ConfigError as error:
        return error.problems
    return ()


def _name(sequence: TestSequence) -> str:
    return f"{sequence.dataset} {sequence.name}"
