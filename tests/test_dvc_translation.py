"""What the DVC command line translates to, and what ``--show`` says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.dvc_workspace import FULL_GOP, PHASE, TEST_COMMAND, TRAIN_COMMAND, TRAINING, DVCFolder, shown
from torchDVC.config import Stage, load_run
from torchDVC.config.command_line import parse_tester, parse_trainer
from torchDVC.dvc_front.options import LAMBDAS
from torchDVC.dvc_front.translation import Translation, train_options, translate
from torchDVC.util.errors import DataError

CHECKOUT = Path(__file__).resolve().parents[1]


def stages(translation: Translation) -> tuple[Stage, ...]:
    assert translation.train is not None
    return translation.train.stages


def test_the_train_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT / "DVC")
    options, translation = translate(TRAIN_COMMAND.split())
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
    options, translation = translate(TEST_COMMAND.split())
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
    command = TRAIN_COMMAND.replace("train.json", f"{name}.json").replace("--MENet SPy", f"--MENet {estimator}")
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
