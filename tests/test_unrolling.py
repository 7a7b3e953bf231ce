"""Long clips: updates after each frame, gradients cut short, activations computed again, batches taken in parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.small_model import TRAIN, SmallModel, different
from torchDVC.coding_structure import CodedFrame, FrameInfo
from torchDVC.config import Stage
from torchDVC.models import checkpoints
from torchDVC.models.buffer import ClipBuffer, Reference
from torchDVC.training.unrolling import sections

HEADER = TRAIN.split("[process")[0].replace("steps = 2", "steps = 2\nlr = 1e-3")
CHAIN = "imode = i\npmode = emcr\nframes = 5\n"


def trained(model: SmallModel, name: str, *lines: str) -> dict[str, Tensor]:
    """The weights after a run of one stage on chains of five frames."""
    model.write(f"{name}.cfg", HEADER + "[process: chain]\n" + CHAIN + "\n".join(lines) + "\n")
    assert model.train(name, cfg=f"{name}.cfg") == 0
    return model.weights(name)


def updates(model: SmallModel, name: str) -> set[float]:
    """How many steps the optimizer took for the parameters that it moved."""
    state = checkpoints.load(model.path / name / "checkpoints/last.safetensors")["optimizer"]["state"]
    return {float(of_parameter["step"]) for of_parameter in state.values()}


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=2e-6, rtol=1e-4, msg=name)


def test_an_update_may_follow_each_frame(small_model: SmallModel) -> None:
    trained(small_model, "clip", "RNN = 2", "train = emcr")
    assert updates(small_model, "clip") == {2.0}
    trained(small_model, "frame", "RNN = 2", "train = emcr", "update = frame")
    assert updates(small_model, "frame") == {8.0}  # the I frame counts as nothing that is trained codes it
    trained(small_model, "each", "update = frame")
    assert updates(small_model, "each") == {2.0, 8.0, 10.0}  # the intra codec's, the others', the quantiles' of either


def test_gradients_cut_after_each_frame_are_those_of_detached_references(small_model: SmallModel) -> None:
    through = trained(small_model, "through", "RNN = 2")
    cut = trained(small_model, "cut", "RNN = 2", "truncate = 1")
    detached = trained(small_model, "detached", "RNN = 1")
    close(cut, detached)
    assert different(through, detached) >= {"intra_codec", "motion_compensator"}
    assert different(through, trained(small_model, "long", "RNN = 2", "truncate = 5")) == set()


def test_gradients_reach_over_as_many_frames_as_they_are_told(small_model: SmallModel) -> None:
    runs = [trained(small_model, f"t{k}", "RNN = 2", f"truncate = {k}", "grad_clip = 0") for k in (1, 2, 3)]
    assert all(different(a, b) for a, b in zip(runs, runs[1:], strict=False))


@pytest.mark.parametrize("rnn", [0, 2])
def test_activations_computed_again_give_the_same_weights(small_model: SmallModel, rnn: int) -> None:
    kept = trained(small_model, "kept", f"RNN = {rnn}")
    assert different(kept, trained(small_model, "again", f"RNN = {rnn}", "checkpointing = true")) == set()


@pytest.mark.parametrize("update", ["clip", "frame"])
def test_a_batch_may_be_taken_in_parts(small_model: SmallModel, update: str) -> None:
    """Of the same noise, as a whole or in parts."""
    weights = []
    for parts in (1, 2, 4):
        header = HEADER.replace("batch_size = 1", f"batch_size = 4\naccumulate = {parts}\nupdate = {update}")
        small_model.write("parts.cfg", f"{header}optimizer = sgd\n[process: chain]\n{CHAIN}RNN = 2\n")
        assert small_model.train(f"parts{parts}", cfg="parts.cfg") == 0
        weights.append(small_model.weights(f"parts{parts}"))
    close(weights[0], weights[1])
    close(weights[0], weights[2])


def test_a_clip_is_gone_through_in_sections() -> None:
    frames = [CodedFrame(0), *(CodedFrame(i, (i - 1,)) for i in range(1, 6))]
    stage = Stage("a", imode="i", pmode="emcr", train="emcr", truncate=2)
    found = sections(frames, stage)
    assert [[frame.index for frame in section.frames] for section in found] == [[0, 1, 2], [3, 4], [5]]
    assert [section.share for section in found] == [0.4, 0.4, 0.2]
    assert [set(section.needed) for section in found] == [{2, 3, 4}, {4}, set()]
    all_train = Stage("a", imode="i", pmode="emcr", train="iemcr", update="frame")
    assert [section.share for section in sections(frames, all_train)] == [1.0] * 6


def test_gradients_from_frame_to_frame_are_bounded() -> None:
    clip = torch.rand(1, 3, 3, 8, 8)
    for bound, expected in ((0.0, 24.0), (1.5, 1.5), (30.0, 24.0)):
        buffer = ClipBuffer(clip, 2, bound)
        picture = torch.zeros(1, 3, 8, 8, requires_grad=True)
        feature = torch.zeros(1, 64, 3, 3, requires_grad=True)
        buffer.add(Reference(FrameInfo(0), picture * 1, {"feature": feature * 1}))
        (reference,) = buffer.of(CodedFrame(1, (0,)))
        (reference.picture.sum() * 3**0.5 + reference.kept["feature"].sum()).backward()
        assert picture.grad is not None and feature.grad is not None
        assert float(picture.grad.norm()) == pytest.approx(expected, rel=1e-5)
        assert float(feature.grad.norm()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("update = frames", "update = 'frames'; expected clip or frame; did you mean 'frame'?"),
        ("update = frame\ntruncate = 2", "truncate has no use with update = frame"),
        ("rnn_grad_clip = 1", "rnn_grad_clip has no use with RNN = 0; expected RNN = 2"),
        ("accumulate = 2", "accumulate = 2; expected a divisor of batch_size = 1"),
    ],
)
def test_contradictions_are_said(
    small_model: SmallModel, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small_model.write("bad.cfg", f"{HEADER}[process: chain]\n{CHAIN}{line}\n")
    assert small_model.train("run", cfg="bad.cfg") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
