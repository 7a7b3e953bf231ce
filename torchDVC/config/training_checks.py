"""Checks of how a stage trains, which need no model: keys that go together, and keys that have no use."""

from __future__ import annotations

from collections.abc import Container, Iterator

from torchDVC.config.records import Stage

SCHEDULES = {
    "exponential": {"lr_decay"},
    "cosine": {"lr_final"},
    "step": {"lr_steps", "lr_decay"},
    "plateau": {"lr_patience", "lr_decay"},
}
"""Schedules of the learning rate, and the keys that each of them reads."""


def check_training(stage: Stage, given: Container[str]) -> Iterator[tuple[str, str]]:
    """What is wrong, by key.

    Args:
        given: keys that the stage gives itself; a default that has no use in this stage is no problem.
    """
    yield from _check_schedule(stage, given)
    if stage.update == "frame" and "truncate" in given:
        yield "truncate", "truncate has no use with update = frame, after which gradients end; expected one of them"
    if stage.rnn < 2 and "rnn_grad_clip" in given:
        yield "rnn_grad_clip", f"rnn_grad_clip has no use with RNN = {stage.rnn}; expected RNN = 2"
    if not (stage.pmode or stage.bmode) and "gray_intra" in given:
        yield "gray_intra", "gray_intra has no use in a stage of I frames; expected frames that refer to the grey one"
    if stage.batch_size % stage.accumulate:
        yield "accumulate", f"accumulate = {stage.accumulate}; expected a divisor of batch_size = {stage.batch_size}"


def _check_schedule(stage: Stage, given: Container[str]) -> Iterator[tuple[str, str]]:
    used = SCHEDULES[stage.lr_schedule]
    said = f"lr_schedule = {stage.lr_schedule}"
    for key in dict.fromkeys(key for keys in SCHEDULES.values() for key in sorted(keys)):
        if key in given and key not in used:
            users = " or ".join(name for name, keys in SCHEDULES.items() if key in keys)
            yield key, f"{key} has no use with {said}; expected lr_schedule = {users}"
    if stage.lr_schedule in ("step", "plateau") and stage.lr_decay == 1:
        yield "lr_schedule", f"{said} with lr_decay = 1 changes nothing; expected an lr_decay below 1"
    if stage.lr_schedule == "step" and not stage.lr_steps:
        yield "lr_schedule", f"{said} needs lr_steps; expected the epochs after which rates fall, such as 10 15"
