"""The DVC command line: one line says what is wrong with a flag, a yml or a json, and all are said at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.dvc_workspace import FULL_GOP, PHASE, DVCFolder
from torchDVC.dvc_front.translation import translate
from torchDVC.util.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[1]


def problems(flags: list[str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        translate(flags)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"strategy": {"stage": "fullgob"}}, "stage = fullgob; expected 2frames, fullgop, train_2frames or tr"),
        ({"strategy": {"stage": "2frames", "randon": True}}, "unknown key 'randon' in strategy; did you mean 'rando"),
        ({"strategy": {"stage": "fullgop", "max_num_Pframe": 0}}, "max_num_Pframe = 0; expected a whole number of at"),
        ({"mode": "residuals"}, "mode = residuals; expected motion or residual; did you mean 'residual'?"),
        ({"frozen_modules": ["Motoin"]}, "frozen_modules has 'Motoin'; did you mean 'Motion'?"),
        ({"frozen_modules": "ME"}, "frozen_modules = ME; expected a list of I, ME, Motion, MC, Residual"),
        ({"frozen_modules": ["I", "ME", "Motion", "MC", "Residual"]}, "phase 'two' freezes every module that mode"),
        ({"loss_on": {"R": "ratte", "D": "None"}}, "loss_on R has 'ratte', an unknown term; did you mean 'rate'?"),
        ({"loss_on": {"R": "rate", "D": "0.5*m_rate"}}, "loss_on D has 'm_rate', an unknown term; known: distortion,"),
        ({"loss_on": {"R": "rate", "D": "x*y"}}, "D = x*y; expected terms such as distortion/0.5*mc_distortion, or"),
        ({"loss_on": {"R": "rate"}}, "loss_on has no 'D'; expected it"),
        ({"loss_on": {"R": "None", "D": "None"}}, "loss.R and loss.D are both None; expected at least one term"),
        ({"mode": "motion"}, "loss_on D has 'distortion', which mode 'motion' does not give; did you mean 'mc_disto"),
        ({"lr": {"default": 1, "MC ": 2}}, "unknown key 'MC ' in lr; did you mean 'MC'?"),
        ({"lr": -1}, "lr = -1; expected a number of at least 0"),
        ({"batch_size": "many"}, "batch_size = many; expected a whole number of at least 1"),
        ({"bach_size": 2}, "unknown key 'bach_size' in phase 'two'; did you mean 'batch_size'?"),
        ({"patch_size": 3}, "patch_size = 3; expected a whole number of at least 16"),
    ],
)
def test_one_line_says_what_is_wrong_with_a_phase(dvc: DVCFolder, changed: dict[str, Any], expected: str) -> None:
    dvc.phases({"two": 1}, two={**PHASE, **changed})
    (problem,) = problems(dvc.flags("--train_conf", "train_cfg/train.json"))
    where, _, what = problem.partition(": ")
    assert re.fullmatch(r"train_cfg/train\.json:\d+", where) and what.startswith(expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("GoogleHyperPrior", "GoogleHyperPior", "config/DVC_motion.yml:1: unknown model_architecture "
         "'GoogleHyperPior' of the Motion coder; did you mean 'GoogleHyperPrior'?"),
        ("GoogleHyperPrior", "ResidualCodec", "config/DVC_motion.yml:1: unknown model_architecture "
         "'ResidualCodec' of the Motion coder; known: "),
        ("num_filters", "num_filter", "config/DVC_motion.yml:6: unknown key 'num_filter' in model_params of "
         "GoogleHyperPrior; did you mean 'num_filters'?"),
        ("num_filters: 6", "num_filters: six", "config/DVC_motion.yml:6: num_filters = six; expected a whole number"),
        ("in_channels: 2", "in_channels: 3", "config/DVC_motion.yml:3: in_channels = 3; expected 2, which is what the"),
        ("model_params:", "model_parms:", "config/DVC_motion.yml:2: unknown key 'model_parms' in the file; did you"),
        ("kernel_size: 3", "kernel_size: [3", "config/DVC_motion.yml:6: cannot be read: "),
        ("kernel_size: 3", "in_channels: 3", "config/DVC_motion.yml:5: 'in_channels' again; expected it once, it"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong_with_a_coder(dvc: DVCFolder, old: str, new: str, expected: str) -> None:
    text = (dvc.path / "config/DVC_motion.yml").read_text()
    dvc.write("config/DVC_motion.yml", text.replace(old, new, 1))
    (problem,) = problems(dvc.flags("--test"))
    assert problem.startswith(expected)


NESTED = "[" * 5000 + "1" + "]" * 5000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FlowCodec\nmodel_params: 3", "2: model_params of FlowCodec is 3; expected keys and values: "),
        ("FlowCodec\nmodel_params: [3]", "2: model_params of FlowCodec is [3]; expected keys and values: "),
        ("FlowCodec\nmodel_params: {widht: 3}", "2: unknown key 'widht' in model_params of FlowCodec; did "),
        ("2024-99-99", "1: unknown model_architecture '2024-99-99' of the Motion coder; known: "),
        ("2024-09-09", "1: unknown model_architecture '2024-09-09' of the Motion coder; known: "),
        ("!!python/name:os.system", "1: tag !!python/name:os.system; expected a value without a tag"),
        ("!here Google", "1: tag !here; expected a value without a tag"),
        ("GoogleHyperPrior\nmodel_params: !!set {width}", "2: tag !!set; expected a value without a tag"),
        ("GoogleHyperPrior\nmodel_params: &a {num_filters: *a}", "2: &a names keys and values, or a list; expected a "),
        (f"GoogleHyperPrior\nmodel_params: {NESTED}", "2: nested more than 20 deep; expected less"),
        ("GoogleHyperPrior\nmodel_params: {[a]: 6}", "2: a key that is no plain text; expected a name"),
        ("GoogleHyperPrior\nmodel_params: {num_filters: 6, num_filters: 7}", "2: 'num_filters' again; expected it on"),
        ("GoogleHyperPrior\nmodel_params: {num_filters: !!int x}", "2: num_filters = x; expected a whole number"),
        (f"GoogleHyperPrior\nmodel_params: {{num_filters: {'9' * 5000}}}", f"2: num_filters = {'9' * 59}…; expected "),
    ],
)
def test_one_line_says_what_is_odd_about_a_yml(dvc: DVCFolder, text: str, expected: str) -> None:
    dvc.write("config/DVC_motion.yml", f"model_architecture: {text}")
    (problem,) = problems(dvc.flags("--test"))
    assert problem.startswith(f"config/DVC_motion.yml:{expected}") and len(problem) < 300


@pytest.mark.parametrize(
    ("value", "expected"),
    [(NESTED, "nested more than 20 deep; expected less"), ("1" * 5000, f"lr = {'1' * 59}…; expected a number of at")],
)
def test_one_line_says_what_is_odd_about_a_json(dvc: DVCFolder, value: str, expected: str) -> None:
    dvc.phases({"two": 1}, two={**PHASE, "lr": 0.5})
    text = (dvc.path / "train_cfg/train.json").read_text()
    dvc.write("train_cfg/train.json", text.replace("0.5,", f"{value},", 1))
    (problem,) = problems(dvc.flags("--train_conf", "train_cfg/train.json"))
    assert re.match(rf"train_cfg/train\.json:8: {re.escape(expected)}", problem)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--quality_level", "9"], "--quality_level '9'; expected a whole number from 1 to 8"),
        (["--gopp", "3"], "unknown flag '--gopp'; did you mean '--gop'?"),
        (["--restore_exp_key", "x"], "--restore_exp_key has no use without --restore; expected --restore load"),
        (["--restore", "resume"], "--restore resume is for training; expected none or load with --test"),
        (["--intra_weights", "nowhere"], "--intra_weights 'nowhere'; expected a file or folder that exists, or none"),
        (["--MENet", "SPi"], "--MENet: 'SPi'; did you mean 'SPy'?"),
    ],
)
def test_one_line_says_what_is_wrong_with_a_flag(dvc: DVCFolder, flags: list[str], expected: str) -> None:
    assert problems(dvc.flags("--test", *flags)) == [expected]


def test_phases_must_be_there_and_grow(dvc: DVCFolder) -> None:
    dvc.phases({"two": 3, "tree": 2}, two=PHASE, three=PHASE)
    found = problems(dvc.flags("--train_conf", "train_cfg/train.json"))
    assert [problem.partition(": ")[2] for problem in found] == [
        "phase 'tree' has no section; did you mean 'three'?",
        "phase 'tree' ends with epoch 2; expected a whole number of at least 4",
        "unknown key 'three' in the file; did you mean 'tree'?",
    ]


def test_all_problems_at_once_of_files_behind_an_equals_sign(dvc: DVCFolder) -> None:
    dvc.coder("DVC_inter", 3, "GoogleHyperPior")
    flags = ["--MENet=SPi", "--motion_coder_conf=config/DVC_motion.yml", "--residual_coder_conf=config/DVC_inter.yml",
             "--quality_level=9", "--test"]  # fmt: skip
    places = [problem.partition(": ")[0].split(" ")[0] for problem in problems(flags)]
    assert places == ["--quality_level", "config/DVC_inter.yml:1", "--MENet"]


def test_all_problems_at_once_before_pytorch(dvc: DVCFolder) -> None:
    """Of flags and of every file, in one go, without a traceback; PyTorch is not waited for."""
    dvc.coder("DVC_motion", 3)
    dvc.coder("DVC_inter", 3, "GoogleHyperPior")
    dvc.phases({"two": 1, "gop": 2}, two={**PHASE, "mode": "both"}, gop={**FULL_GOP, "frozen_modules": ["X"]})
    code = (
        "import sys; from torchDVC.dvc_front.main import main; code = main(sys.argv[1:]); "
        "sys.exit(code if 'torch' not in sys.modules else 9)"
    )
    flags = dvc.flags("--train_conf", "train_cfg/train.json", "--quality_level", "0", estimator="SPi")
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    finished = subprocess.run(
        [sys.executable, "-c", code, *flags], capture_output=True, text=True, env=environment, check=False
    )
    lines = finished.stderr.splitlines()
    places = ("--quality_level", "config/DVC_motion.yml:3", "config/DVC_motion.yml:4", "config/DVC_inter.yml:1",
              "--MENet", "train_cfg/train.json:", "train_cfg/train.json:")  # fmt: skip
    assert finished.returncode == 2 and finished.stdout == ""
    assert [line.startswith(place) for line, place in zip(lines, places, strict=True)] == [True] * len(places)
