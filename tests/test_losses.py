"""What a stage minimises, and the optimizers that do it."""

from __future__ import annotations

import random

import pytest
import torch

from tests.small_model import TRAIN, SmallModel
from torchDVC.coding_structure import training_frames
from torchDVC.config import load_run
from torchDVC.config.command_line import parse_trainer
from torchDVC.models import checkpoints
from torchDVC.models.distortions import load_distortion
from torchDVC.models.loss import StageLoss
from torchDVC.training.optimizers import AUX, make_optimizer, set_memory_format
from torchDVC.training.trainer import Trainer
from torchDVC.util.arithmetic import Arithmetic


def stage_loss(model: SmallModel, text: str, *flags: str) -> dict[str, float]:
    """The scalars of a stage's loss on a fixed batch."""

    model.write("one.cfg", f"[process: one]\ndata = DATA\npatch_size = 64\nprecision = 32\n{text}\n")
    options = parse_trainer(model.train_flags("unused", *flags, cfg="one.cfg"))
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    torch.manual_seed(5)
    stage = trainer.config.stages[0]
    batch = torch.rand(2, stage.frames, 3, 64, 64)
    frames = training_frames(stage.pairs, stage.frames, random.Random(0))
    distortion = load_distortion("ms_ssim" if options.ssim else "mse")
    loss = StageLoss(trainer.codec, stage, distortion, options.i_lmda / options.lmda)
    values = loss(batch, frames, torch.zeros(2, dtype=torch.int64), torch.full((2,), options.lmda * options.lmda_scale))
    return {name: value.item() for name, value in values.items()}


def test_the_loss_is_rate_plus_weighted_distortion(small_model: SmallModel) -> None:
    terms = "loss.R = motion_rate/0.5*residual_rate\nloss.D = distortion/0.1*mc_distortion"
    v = stage_loss(small_model, f"pmode = emcr\n{terms}")
    rate = v["motion_rate"] + 0.5 * v["residual_rate"]
    assert v["loss"] == pytest.approx(rate + 256 * (v["distortion"] + 0.1 * v["mc_distortion"]), rel=1e-4)
    assert v["rate"] == pytest.approx(v["motion_rate"] + v["residual_rate"], rel=1e-4)


def test_terms_can_be_left_out(small_model: SmallModel) -> None:
    only_d = stage_loss(small_model, "pmode = emc\nloss.R = None\nloss.D = mc_distortion")
    assert only_d["loss"] == pytest.approx(256 * only_d["mc_distortion"], rel=1e-4)
    only_r = stage_loss(small_model, "pmode = em\nloss.R = motion_rate\nonly_rate = true")
    assert only_r["loss"] == pytest.approx(only_r["motion_rate"], rel=1e-4)


def test_intra_frames_have_their_own_lagrangian(small_model: SmallModel) -> None:
    v = stage_loss(small_model, "imode = i\nframes = 1", "--i_lmda", "1024")
    assert v["loss"] == pytest.approx(v["rate"] + 1024 * v["distortion"], rel=1e-4)


def test_only_frames_that_train_something_count(small_model: SmallModel) -> None:
    """The loss of a P frame, whether or not a frozen intra codec makes its reference."""
    text = "imode = i\npmode = emcr\ntrain = emcr\nRNN = 1\nframes = 2"
    v = stage_loss(small_model, text)
    assert "intra_rate" not in v and v["loss"] == pytest.approx(v["rate"] + 256 * v["distortion"], rel=1e-4)


def test_a_share_of_clips_begins_with_grey(small_model: SmallModel) -> None:
    from torchDVC.training.trainer import Trainer

    text = TRAIN.split("[process")[0] + "[process: gray]\npmode = emcr\nframes = 3\ngray_intra = 0.25\n"
    small_model.write("gray.cfg", text)
    options = parse_trainer(small_model.train_flags("unused", cfg="gray.cfg"))
    trainer = Trainer(options, *load_run(options.model_config, options.run_config, "train"))
    training = trainer.enter(trainer.config.stages[0])
    seen: list[torch.Tensor] = []

    def loss(clip: torch.Tensor, *_: object, **__: object) -> dict[str, torch.Tensor]:
        seen.append(clip)
        weight = next(p for p in trainer.codec.parameters() if p.requires_grad)
        return {"loss": weight.sum(), "aux": weight.sum()}

    training.loss = loss  # type: ignore[assignment]
    for _ in range(25):
        training.step(torch.randint(0, 100, (16, 3, 3, 64, 64), dtype=torch.uint8))
    clips = torch.cat(seen)
    grey = (clips == 0.5).flatten(2).all(-1)
    assert not grey[:, 1:].any() and float(grey[:, 0].float().mean()) == pytest.approx(0.25, abs=0.06)


def test_ssim_is_the_distortion_when_asked_for(small_model: SmallModel) -> None:
    v = stage_loss(small_model, "imode = i\nframes = 1", "--ssim", "--ssim_factor", "0.5")
    assert v["loss"] == pytest.approx(v["rate"] + 128 * v["distortion"], rel=1e-4)
    assert 0 < v["distortion"] < 1 and v["distortion"] != stage_loss(small_model, "imode = i\nframes = 1")["distortion"]


def test_an_ssim_run_goes_through(small_model: SmallModel) -> None:
    small_model.trained("--ssim", "--end_epoch", "1")


def test_learning_rates_decay_and_differ_by_module(small_model: SmallModel) -> None:
    text = "lr = 1e-3\nlr.motion_codec = 2e-3\nlr_decay = 0.5\naux_lr = 1e-2\nepochs = 2"
    small_model.write("lr.cfg", TRAIN.replace("[process: intra]", f"[process: intra]\n{text}"))
    assert small_model.train("run0", "--end_epoch", "2", cfg="lr.cfg") == 0
    groups = checkpoints.load(small_model.path / "run0/checkpoints/last.safetensors")["optimizer"]["param_groups"]
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates["intra_codec"] == pytest.approx(5e-4) and rates["motion_codec"] == pytest.approx(1e-3)
    assert rates[AUX] == pytest.approx(5e-3)


def test_the_optimizers_state_outlives_freezing(finished: SmallModel) -> None:
    states = [
        checkpoints.load(finished.path / f"run/checkpoints/{name}.safetensors")["optimizer"]
        for name in ("01_intra", "02_motion", "03_joint")
    ]
    of_intra = states[0]["param_groups"][0]["params"][0]
    assert all(torch.equal(s["state"][of_intra]["exp_avg"], states[0]["state"][of_intra]["exp_avg"]) for s in states)
    of_motion = states[1]["param_groups"][2]["params"][0]
    assert (float(states[1]["state"][of_motion]["step"]), float(states[2]["state"][of_motion]["step"])) == (4.0, 6.0)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_change_of_layout_does_not_mix_up_the_optimizers_state(small_model: SmallModel, optimizer: str) -> None:
    weights = []
    for layouts in (("contiguous", "contiguous"), ("contiguous", "channels_last")):
        codec = small_model.codec()
        update = make_optimizer(codec, optimizer)
        for layout in layouts:
            set_memory_format(codec, update, Arithmetic("32", layout).layout)
            for group in update.param_groups:
                group["lr"] = 0.01
            for parameter in codec.parameters():
                parameter.grad = torch.zeros_like(parameter).copy_(parameter.detach().sin())
            update.step()
        weights.append(dict(codec.state_dict()))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, msg=name)
