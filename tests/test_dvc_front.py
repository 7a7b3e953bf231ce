"""The DVC command line: what it translates to, that both fronts train the same, and what it reports."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.dvc_workspace import FULL_GOP, PHASE, TRAINING, DVCFolder, make_dvc_folder
from tests.test_published_weights import SPYNETS, spynet_tensors
from torchDVC.config import Stage, load_run
from torchDVC.config.command_line import parse_tester, parse_trainer
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.testing import SEQUENCES
from torchDVC.dataset.video import Frame, VideoInfo, open_writer
from torchDVC.dvc_front import intra_weights
from torchDVC.dvc_front import main as main_module
from torchDVC.dvc_front.options import LAMBDAS
from torchDVC.dvc_front.translation import Translation, train_options, translate
from torchDVC.models import checkpoints
from torchDVC.modules.intra.scale_hyperprior import ScaleHyperpriorIntra
from torchDVC.results.conditions import curves
from torchDVC.results.rows import read_frames, read_rows
from torchDVC.training.arithmetic import Arithmetic
from torchDVC.training.optimizers import AUX
from torchDVC.util.errors import DataError

CHECKOUT = Path(__file__).resolve().parents[1]
CODEC = ("--MENet SPy --motion_coder_conf ./config/DVC_motion.yml --residual_coder_conf ./config/DVC_inter.yml")
TRAIN = (
    f"{CODEC} --train_conf ./train_cfg/train.json -n 4 --quality_level 6 --gpus 1 --project_name Video_Compression "
    "--experiment_name DVC"
)
TEST = (
    f"{CODEC} -n 4 --quality_level 6 --gpus 1 --project_name Video_Compression --experiment_name DVC "
    "--restore load --restore_exp_key xxx --restore_exp_epoch 22 --gop 12 --test"
)


@pytest.fixture
def dvc(tmp_path: Path, clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DVCFolder:
    return make_dvc_folder(tmp_path, clip_folder, monkeypatch)


def stages(translation: Translation) -> tuple[Stage, ...]:
    assert translation.train is not None
    return translation.train.stages


# --- translation


def test_the_train_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT / "DVC")
    options, translation = translate(TRAIN.split())
    assert (options.num_workers, options.gpus, options.name, options.test) == (4, 1, "DVC_q6", False)
    engine = train_options(options, 1, "cpu", None)
    assert engine.lmda == pytest.approx(255**2 * 0.0483) and engine.folder == Path("log/DVC_q6")
    assert [(spec.code, spec.type.name) for spec in translation.model.modules] == [
        ("i", "ScaleHyperpriorIntra"), ("e", "SPyNet"), ("m", "FlowCodec"), ("c", "UNetCompensation"),
        ("r", "ResidualCodec"),
    ]  # fmt: skip
    assert translation.model.by_code("m").args == {
        "width": 128, "channels": 128, "kernel_size": 3, "latent": {"type": "Factorized"},
    }  # fmt: skip
    assert [stage.epochs for stage in stages(translation)] == [10, 2, 10, 5, 3, 3, 5]
    motion, compensation, residual, two, *_, gop, with_me = stages(translation)
    assert [stage.train for stage in (motion, compensation, residual, two)] == ["mc", "c", "r", "mcr"]
    assert (motion.imode, motion.pmode, motion.rnn, motion.loss_d) == ("i", "emc", 1, ((1.0, "warped_distortion"),))
    assert (two.frames, two.rnn, two.reverse_rate) == (2, 1, 0.5)
    assert (gop.train, gop.frames, gop.rnn, gop.reverse_rate) == ("mcr", 6, 1, 0.0)
    assert with_me.train == "emcr" and with_me.lr["motion_estimator"] == pytest.approx(1e-5)


def test_the_test_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT / "DVC")
    options, translation = translate(TEST.split())
    assert (options.gop, options.restore_exp_key, options.restore_exp_epoch) == (12, "xxx", 22)
    assert translation.train is None
    assert [(process.imode, process.pmode) for process in translation.test.processes] == [("i", "emcr")]


def test_the_flags_that_may_be_left_out_are_as_there(dvc: DVCFolder) -> None:
    coders = ["--motion_coder_conf", "./config/DVC_motion.yml", "--residual_coder_conf", "./config/DVC_inter.yml"]
    options, translation = translate([*coders, "--test"])
    assert (options.quality_level, options.num_workers, options.gop, options.codec) == (6, 4, 12, "DVC")
    assert translation.model.by_code("e").type.name == "SPyNet"
    assert translate([*coders, "--test", "-q", "3"])[0].quality_level == 3
    assert not train_options(options, 1, "cpu", None).no_comet
    assert train_options(translate([*coders, "--test", "--debug"])[0], 1, "cpu", None).no_comet


def test_stages_may_be_called_as_its_functions_are_and_have_no_mode(dvc: DVCFolder) -> None:
    phase = {key: value for key, value in PHASE.items() if key != "mode"}
    two, gop = ({**phase, "strategy": {"stage": f"train_{name}", "random": 0, "max_num_Pframe": 2}}
                for name in ("2frames", "fullgop"))  # fmt: skip
    dvc.phases({"two": 1, "gop": 2}, two=two, gop=gop)
    found = stages(translate(dvc.flags(*TRAINING))[1])
    assert [(stage.imode, stage.pmode, stage.frames, stage.reverse_rate) for stage in found] == [
        ("i", "emcr", 2, 0.0), ("i", "emcr", 3, 0.0)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["train", "tune", "scratch"])
@pytest.mark.parametrize(("estimator", "kind"), [("SPy", "SPyNet"), ("PWC", "PWCNet"), ("PWCNet", "PWCNet")])
def test_every_shipped_json(name: str, estimator: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT / "DVC")
    command = TRAIN.replace("train.json", f"{name}.json").replace("--MENet SPy", f"--MENet {estimator}")
    _, translation = translate(command.split())
    assert translation.model.by_code("e").type.name == kind
    assert stages(translation)


@pytest.mark.parametrize("level", range(1, 9))
def test_quality_levels(dvc: DVCFolder, level: int) -> None:
    flags = dvc.flags("--test", "--quality_level", str(level))
    flags = [flag for flag in flags if flag not in ("--intra_coder_conf", "config/intra.yml")]
    options, translation = translate(flags)
    assert options.lmda == 65025 * LAMBDAS[level - 1]
    assert translation.model.by_code("i").args["channels"] == (192 if level <= 5 else 320)


def test_show_is_the_same_in_csv_and_cfg(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    motion = {**PHASE, "mode": "motion", "loss_on": {"R": "m_rate", "D": "0.5*warped_distortion"}}
    rate = {**PHASE, "loss_on": {"R": "m_rate/2*r_rate", "D": "None"}}
    dvc.phases({"first": 3, "second": 4, "third": 9}, first=motion, second=FULL_GOP, third=rate)
    flags = ("--train_conf", "train_cfg/train.json")
    _, translation = translate(dvc.flags(*flags))
    shown(dvc, capsys, *flags)
    model, train = load_run("DVC.csv", "train.cfg", "train")
    _, test = load_run("DVC.csv", "test.cfg", "test")
    for read, translated in (
        (model.modules, translation.model.modules), (train.stages, stages(translation)),
        (test.processes, translation.test.processes),
    ):  # fmt: skip
        assert list(map(without_place, read)) == list(map(without_place, translated))
    assert not (dvc.path / "log").exists()


def without_place(record: Any) -> Any:
    """A record without where it and its keys stand."""
    named = {field.name for field in dataclasses.fields(record)}
    return dataclasses.replace(record, **{name: type(getattr(record, name))() for name in {"where", "places"} & named})


def shown(dvc: DVCFolder, capsys: pytest.CaptureFixture[str], *flags: str) -> list[list[str]]:
    """Write the files that ``--show`` prints; the commands, without the script's name."""
    capsys.readouterr()
    assert dvc.run(*flags, "--show") == 0
    text, _, commands = capsys.readouterr().out.partition("==> commands <==\n")
    for name, content in re.findall(r"==> (\S+) <==\n(.*?)\n(?===>|\Z)", text, re.DOTALL):
        dvc.write(name, content)
    return [shlex.split(command)[2:] for command in commands.splitlines()]


def test_show_prints_weights_and_every_flag(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a name, with.safetensors", "me.safetensors"):
        dvc.write(name, "")
    flags = ("--train_conf", "train_cfg/train.json", "--intra_weights", "a name, with.safetensors", "--ME_weights",
             "me.safetensors", "--patch_size", "128", "--precision", "bf16-mixed", "--end_epoch", "1", "--seed", "7",
             "--experiment_name", "a b")  # fmt: skip
    training, testing = shown(dvc, capsys, *flags)
    model, _ = load_run("DVC.csv", "train.cfg", "train")
    assert model.by_code("i").weights == dvc.path / "a name, with.safetensors"
    assert model.by_code("e").weights == dvc.path / "me.safetensors"
    options = parse_trainer(training)
    engine = train_options(translate(dvc.flags(*dvc.quick, *flags))[0], 1, "cpu", None)
    assert options == dataclasses.replace(engine, run_config="train.cfg")
    (dvc.path / "log/a b_q6/checkpoints").mkdir(parents=True)
    dvc.write("log/a b_q6/checkpoints/last.safetensors", "")
    test = parse_tester(testing)
    assert (test.name, test.restore, test.intra_period, test.precision) == ("a b", "load", 12, "bf16-mixed")


def test_show_prints_what_is_restored(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("epoch_0001", "epoch_0002", "last"):
        dvc.write(f"log/run_q6/checkpoints/{name}.safetensors", "")
    restored = ("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", "2")
    (testing,) = shown(dvc, capsys, *restored, "--test", "--gop", "4")
    test = parse_tester(testing)
    assert test.checkpoint == dvc.path / "log/run_q6/checkpoints/epoch_0002.safetensors"
    assert (test.intra_period, test.gop_size, test.write_stream, test.name) == (4, 1, True, "DVC")
    (testing,) = shown(dvc, capsys, *restored, "--test", "--no-write_stream")
    assert not parse_tester(testing).write_stream
    resumed = ("--train_conf", "train_cfg/train.json", "--restore", "resume", "--restore_exp_key", "run")
    train = parse_trainer(shown(dvc, capsys, *resumed)[0])
    assert (train.restore, train.folder) == ("resume", dvc.path / "log/run_q6")


def test_factorized_coders_and_other_types(dvc: DVCFolder) -> None:
    dvc.coder("DVC_motion", 2, "GoogleFactorizedPrior")
    dvc.write("config/DVC_inter.yml", "model_architecture: ResidualCodec\n"
              "model_params: {width: 6, latent: {type: Gain, levels: 2}}\n")  # fmt: skip
    _, translation = translate(dvc.flags("--test"))
    assert translation.model.by_code("m").type.name == "FlowCodec"
    assert translation.model.by_code("m").args == {
        "width": 6, "channels": 8, "kernel_size": 3, "latent": {"type": "Factorized"},
    }  # fmt: skip
    assert translation.model.by_code("r").args == {"width": 6, "latent": {"type": "Gain", "levels": 2}}


def test_parameters_may_be_empty_and_share_a_value(dvc: DVCFolder) -> None:
    dvc.write("config/DVC_motion.yml", "model_architecture: FlowCodec\nmodel_params:\n")
    dvc.write("config/DVC_inter.yml", "model_architecture: GoogleHyperPrior\n"
              "model_params: {num_filters: &n 6, num_features: *n}")  # fmt: skip
    _, translation = translate(dvc.flags("--test"))
    assert translation.model.by_code("m").args == {}
    latent = {"type": "ScaleHyperprior", "hidden": 6}
    assert translation.model.by_code("r").args == {"width": 6, "channels": 6, "latent": latent}


@pytest.mark.parametrize(("random", "rate"), [(True, 0.5), (False, 0.0)])
def test_random_pairs_are_of_either_direction(
    dvc: DVCFolder, random: bool, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def refuse(data: str, **cutting: Any) -> None:
        asked.update(cutting)
        raise DataError("seen")

    monkeypatch.setattr("torchDVC.training.stage.training_set", refuse)
    dvc.phases({"two": 1}, two={**PHASE, "strategy": {"stage": "2frames", "random": random}})
    assert dvc.train("--experiment_name", "run") == 2
    assert (asked["frames"], asked["reverse_rate"]) == (2, rate)


# --- training


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage computes in float32, contiguous, not in what is fastest at the moment."""
    monkeypatch.setattr("torchDVC.training.stage.candidates", lambda *_: [Arithmetic("32", "contiguous")])


@pytest.mark.usefixtures("unmeasured")
def test_both_fronts_train_equal_weights(dvc: DVCFolder, capsys: pytest.CaptureFixture[str]) -> None:
    from torchDVC.trainer import main

    dvc.phases({"motion": 1, "two": 2, "gop": 3}, two=PHASE, gop=FULL_GOP,
               motion={**PHASE, "mode": "motion", "loss_on": {"R": "m_rate", "D": "mc_distortion"}})  # fmt: skip
    torch.manual_seed(5)
    save_file(ScaleHyperpriorIntra(6, 8).state_dict(), dvc.path / "intra.safetensors")
    flags = ("--intra_weights", "intra.safetensors", "--patch_size", "80", "--seed", "3")
    assert dvc.train("--experiment_name", "dvc", *flags) == 0
    command, _ = shown(dvc, capsys, *TRAINING, *flags)
    assert main([*command, "--save_dir", "log/engine"]) == 0
    ours, theirs = (dvc.checkpoint(run)["model"] for run in ("dvc", "engine"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


NORMALISED = '''
from __future__ import annotations
import torch
from torch import nn
from torchDVC.config.registry import codec_module

@codec_module(reads="refs", encoder_reads="frame", writes="flow", encoder_only=True)
class NormalisedEstimator(nn.Module):
    """An estimator with statistics of its batches."""
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(6, 2, 3, padding=1), nn.BatchNorm2d(2))

    def forward(self, state, stream):
        return {"flow": self.net(torch.cat((state["frame"], state["refs"][:, 0]), 1))[:, None]}
'''


def test_frozen_modules_stay_to_the_bit(dvc: DVCFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters, quantiles, batch statistics and optimizer state; a module thawed later starts its state anew."""
    dvc.write("plugins/estimator.py", NORMALISED)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(dvc.path / "plugins"))
    dvc.phases({"a": 1, "b": 2, "c": 3}, a=PHASE, c={**PHASE, "frozen_modules": []},
               b={**PHASE, "frozen_modules": ["Motion", "Residual"], "train_intra": True})  # fmt: skip
    assert dvc.train("--experiment_name", "run", estimator="NormalisedEstimator") == 0
    first, second, third = (dvc.checkpoint("run", f"epoch_{n:04}") for n in (1, 2, 3))
    assert moved(first, second) == {"intra_codec", "motion_estimator", "motion_compensator"}
    assert moved(second, third) == {"motion_estimator", "motion_codec", "motion_compensator", "residual_codec"}
    assert moments(first) == {"motion_codec": 2, "motion_compensator": 2, "residual_codec": 2, AUX: 2}
    assert moments(second) == {
        "intra_codec": 2, "motion_estimator": 2, "motion_codec": 2, "motion_compensator": 4, "residual_codec": 2,
        AUX: 2,
    }  # fmt: skip
    assert moments(third)["motion_codec"] == 4 and moments(third)["intra_codec"] == 2
    assert torch.equal(second["model"]["motion_estimator.net.1.num_batches_tracked"], torch.tensor(2))


def moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Modules any of whose tensors, quantiles and statistics included, differ between two checkpoints."""
    own = before["model"], after["model"]
    return {name.split(".")[0] for name in own[0] if not torch.equal(own[0][name], own[1][name])} - {"lmdas"}


def moments(state: dict[str, Any]) -> dict[str, int]:
    """How many updates the optimizer made, by parameter group that has state."""
    optimizer = state["optimizer"]
    steps = {
        group["name"]: {int(optimizer["state"][p]["step"]) for p in group["params"] if p in optimizer["state"]}
        for group in optimizer["param_groups"]
    }
    return {name: min(found) for name, found in steps.items() if found}


@pytest.mark.usefixtures("unmeasured")
def test_checkpoints_by_key_and_epoch(dvc: DVCFolder, capfd: pytest.CaptureFixture[str]) -> None:
    dvc.phases({"two": 2}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run") == 0
    said = re.search(r"experiment key (\w{32}), in log/run_q6", capfd.readouterr().out)
    assert said is not None
    for key in ("run", "run_q6", "log/run_q6", said[1]):
        name = f"from_{len(key)}"
        restored = ("--restore", "load", "--restore_exp_key", key, "--restore_exp_epoch", "1", "--end_epoch", "1")
        assert dvc.train("--experiment_name", name, *restored, "--seed", "0") == 0
    first, *others = (dvc.checkpoint(f"from_{length}")["model"] for length in (3, 6, 10, 32))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    capfd.readouterr()
    assert dvc.train("--restore", "load", "--restore_exp_key", "runn_q6") == 2
    assert capfd.readouterr().err == "--restore_exp_key runn_q6: no such run in log; did you mean 'run_q6'?\n"
    assert dvc.train("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", "7") == 2
    assert capfd.readouterr().err.endswith("no such checkpoint in log/run_q6/checkpoints; it has 1 to 2\n")


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(dvc: DVCFolder) -> None:
    assert dvc.train("--experiment_name", "whole") == 0
    assert dvc.train("--experiment_name", "parts", "--end_epoch", "1") == 0
    assert dvc.train("--experiment_name", "parts", "--restore", "resume") == 0
    whole, parts = (dvc.checkpoint(run)["model"] for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_pwcnet_is_trained_in_a_codec(dvc: DVCFolder) -> None:
    dvc.phases({"all": 2}, all={**FULL_GOP, "steps": 1})
    assert dvc.train("--experiment_name", "run", estimator="PWC") == 0
    assert "motion_estimator" in moved(dvc.checkpoint("run", "epoch_0001"), dvc.checkpoint("run"))


# --- modules without weights


def test_modules_without_weights_are_trained_first(dvc: DVCFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Each in a phase of its own; epochs keep the numbers that the json gives them."""
    dvc.phases({"two": 1, "more": 2}, two={**PHASE, "steps": 1}, more={**PHASE, "steps": 1})
    unweighted = [flag for flag in TRAINING if flag != "--no_sanity"]
    assert dvc.bare("--experiment_name", "run", *unweighted, "--no_sanity", "--end_epoch", "1") == 0
    assert [line.partition(":")[0] for line in caplog.messages if "trained by itself first" in line] == [
        "intra_codec has no weights", "motion_estimator has no weights"
    ]  # fmt: skip
    intra, both, first = (dvc.checkpoint("run", f"epoch_{epoch:04}") for epoch in (20, 23, 24))
    assert moved(intra, both) == {"motion_estimator"}
    assert moved(both, first) == {"motion_codec", "motion_compensator", "residual_codec"}
    assert dvc.bare("--experiment_name", "run", *TRAINING, "--restore", "resume") == 0
    assert moved(first, dvc.checkpoint("run", "epoch_0025")) == moved(both, first)
    for epoch, code in (("1", 0), ("2", 0), ("3", 2), ("23", 2)):
        restored = ("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", epoch)
        assert dvc.bare("--test", "--no-write_stream", *restored) == code


def test_an_estimator_that_learns_from_the_first_phase_on_needs_no_weights(dvc: DVCFolder) -> None:
    dvc.phases({"two": 1}, two={**PHASE, "frozen_modules": [], "train_intra": True})
    _, translation = translate(dvc.flags(*TRAINING))
    assert main_module.weighted(translate(dvc.flags(*TRAINING))[0], translation).train == translation.train


def test_an_estimator_that_cannot_be_trained_by_itself_needs_weights(
    dvc: DVCFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc.write("plugins/estimator.py", NORMALISED)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(dvc.path / "plugins"))
    assert dvc.bare(*TRAINING, "--intra_weights", "none", estimator="NormalisedEstimator") == 2
    said = "--MENet: NormalisedEstimator has no weights and cannot be trained by itself; expected --ME_weights (loss.D"
    assert capsys.readouterr().err.startswith(said)


def test_published_weights_of_the_estimator(dvc: DVCFolder) -> None:
    """The estimator of a codec that a phase freezes keeps the weights of the file, those of its finest levels."""
    tensors = spynet_tensors(6, SPYNETS["moduleBasic"])
    torch.save(tensors, dvc.path / "spynet.pytorch")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run", "--ME_weights", "spynet.pytorch") == 0
    trained = dvc.checkpoint("run")["model"]
    assert torch.equal(trained["motion_estimator.networks.0.0.weight"], tensors["moduleBasic.1.moduleBasic.0.weight"])
    assert torch.equal(trained["motion_estimator.networks.4.8.bias"], tensors["moduleBasic.5.moduleBasic.8.bias"])


def test_weights_of_every_module(dvc: DVCFolder) -> None:
    """A run's checkpoint gives each module its own."""
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run", "--seed", "1") == 0
    last = "log/run_q6/checkpoints/last.safetensors"
    names = ("intra", "ME", "Motion", "MC", "Residual")
    flags = [word for name in names for word in (f"--{name}_weights", last)]
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1, "lr": 0, "aux_lr": 0})
    assert dvc.train("--experiment_name", "again", *flags, "--seed", "2") == 0
    assert moved(dvc.checkpoint("run"), dvc.checkpoint("again")) == set()


# --- intra weights


def test_that_weights_cannot_be_downloaded_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(quality: int, path: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCHDVC_CACHE", str(tmp_path))
    monkeypatch.setattr(intra_weights, "_download", refuse)
    assert intra_weights.intra_weights(None, 3, of_zoo=True) is None
    (record,) = caplog.records
    assert "quality 3 could not be downloaded (no route to host)" in record.getMessage()
    assert intra_weights.intra_weights("none", 3, of_zoo=True) is None
    assert intra_weights.intra_weights(None, 3, of_zoo=False) is None
    intra_weights.cached(3).parent.mkdir()
    intra_weights.cached(3).touch()
    assert intra_weights.intra_weights(None, 3, of_zoo=True) == intra_weights.cached(3)
    assert len(caplog.records) == 1


def test_intra_weights_are_started_from(dvc: DVCFolder) -> None:
    torch.manual_seed(5)
    weights = ScaleHyperpriorIntra(6, 8).state_dict()
    save_file(weights, dvc.path / "intra.safetensors")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run", "--intra_weights", "intra.safetensors") == 0
    trained = dvc.checkpoint("run")["model"]
    assert all(torch.equal(trained[f"intra_codec.{name}"], x) for name, x in weights.items())


# --- testing


def test_a_test_reports_each_sequence(dvc: DVCFolder, capfd: pytest.CaptureFixture[str]) -> None:
    dvc.coder("DVC_inter", 3, "GoogleFactorizedPrior")
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train("--experiment_name", "run") == 0
    capfd.readouterr()
    restored = ("--restore", "load", "--restore_exp_key", "run", "--restore_exp_epoch", "1", "--gop", "4")
    shutil.copy(dvc.data / "one.y4m", dvc.path / "one.y4m")
    both = ("--test_datasets", str(dvc.data / "one.y4m"), str(dvc.path / "one.y4m"))
    assert dvc.run("--experiment_name", "run", *restored, "--test", *both) == 0
    results = dvc.path / "results" / "run"
    (point, copy), frames = read_rows(results / "rd.csv"), read_frames(results / "frames.csv")
    assert point.bpp is not None and (point.intra_period, point.gop_size, point.frames) == (4, 1, 12)
    frames = [frame for frame in frames if frame.dataset == point.dataset]
    with open(results / "q6" / f"{point.dataset}_one.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["type"] for row in rows] == ["I", "P", "P", "P"] * 3
    for row, frame in zip(rows, sorted(frames, key=lambda frame: frame.frame), strict=True):
        assert float(row["rate"]) == pytest.approx(frame.bits / (96 * 80), rel=1e-5)
        if row["type"] == "P":
            parts = float(row["motion_rate"]) + float(row["residual_rate"])
            assert parts == pytest.approx(float(row["rate"]), rel=1e-4)
            assert 0 < float(row["motion_hyper_rate"]) < float(row["motion_rate"])
            assert row["residual_hyper_rate"] == "" and float(row["mc_psnr"]) > 0 and float(row["warped_psnr"]) > 0
    with open(results / "q6" / "summary.csv", newline="") as file:
        (one, other, overall) = csv.DictReader(file)
    assert [line["sequence"] for line in (one, other, overall)] == ["one", "one", "all"]
    assert [line["dataset"] for line in (one, other, overall)] == [point.dataset, copy.dataset, ""]
    assert float(one["psnr"]) == pytest.approx(point.psnr_rgb, rel=1e-5)
    assert "motion_hyper_rate" in capfd.readouterr().out


def test_quality_levels_are_one_curve(dvc: DVCFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Trained and tested with commands that differ in the level alone, none in another's way."""
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    for level in ("3", "6"):
        assert dvc.train("--quality_level", level) == 0
        assert dvc.run("--quality_level", level, "--restore", "load", "--test") == 0
    assert "trained with" not in caplog.text
    rows = read_rows(dvc.path / "results" / "DVC" / "rd.csv")
    assert [(row.codec, row.lmda) for row in rows] == [("DVC", 65025 * 0.0067), ("DVC", 65025 * 0.0483)]
    assert rows[0].checkpoint != rows[1].checkpoint
    assert [(dvc.path / "results" / "DVC" / level / "summary.csv").is_file() for level in ("q3", "q6")] == [True, True]
    (curve,) = curves(rows, "psnr_rgb")
    assert len(curve.rates) == 2


def test_a_checkpoint_of_another_level_is_said(dvc: DVCFolder, caplog: pytest.LogCaptureFixture) -> None:
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    assert dvc.train() == 0
    restored = ("--restore", "load", "--restore_exp_key", "DVC_q6", "--no-write_stream")
    assert dvc.run("--quality_level", "1", *restored, "--test") == 0
    (said,) = [record.getMessage() for record in caplog.records if "trained with" in record.getMessage()]
    assert said == "--lmda 117.045: the checkpoint was trained with 3140.71; its results stand under 117.045"
    (row,) = read_rows(dvc.path / "results" / "DVC" / "rd.csv")
    assert (row.bpp, row.lmda) == (None, 65025 * 0.0018)


# --- the commands, as they stand


@pytest.mark.slow
def test_the_commands_verbatim(dvc: DVCFolder) -> None:
    """Only the yml and json files are small, and data and intra weights are put where the environment says.

    The motion estimator, of which there are no weights, is trained first.
    """
    dvc.phases({"two": 1}, two={**PHASE, "steps": 1})
    (dvc.path / "DVC.py").symlink_to(CHECKOUT / "DVC" / "DVC.py")
    clips = [f"{name}/{sequence}" for name in ("UVG", "HEVC-B") for sequence in SEQUENCES[name]]
    for clip in clips:
        with open_writer(dvc.path / f"data/{clip}.y4m", VideoInfo(64, 64)) as writer:
            for rgb in procedural_clip(0, 2, (64, 64)):
                writer.write(Frame(rgb=rgb))
    save_file(ScaleHyperpriorIntra(192, 320).state_dict(), dvc.path / "weights.safetensors")
    cached = dvc.path / "cache" / "zoo" / "bmshj2018-hyperprior-6.safetensors"
    cached.parent.mkdir(parents=True)
    (dvc.path / "weights.safetensors").rename(cached)
    environment = {**os.environ, "DATAROOT": str(dvc.path / "data"), "LOG": str(dvc.path / "log"),
                   "TORCHDVC_CACHE": str(dvc.path / "cache"), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    for command in (TRAIN, TEST.replace("xxx", "DVC").replace(" 22 ", " 1 ")):
        finished = subprocess.run(
            [sys.executable, "DVC.py", *command.split()], capture_output=True, text=True, env=environment, check=False
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr.count("--gpus 1: no GPU here, running on the CPU") == 1
    rows = read_rows(dvc.path / "log" / "results" / "DVC" / "rd.csv")
    assert [f"{row.dataset}/{row.sequence}" for row in rows] == clips
    assert all(row.memory_decode for row in rows)
    state = dvc.checkpoint("DVC", "epoch_0004")
    assert moved(dvc.checkpoint("DVC", "epoch_0003"), state) == {
        "motion_codec", "motion_compensator", "residual_codec"
    }  # fmt: skip
    assert state["conditions"]["--lmda"] == str(255**2 * 0.0483)
    assert checkpoints.last(dvc.path / "log" / "DVC_q6" / "checkpoints").is_file()
