"""Configuration: what good files become, and what is said, and where, about every kind of bad one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchDVC.util.configuration import (
    ModelConfig,
    TestConfig,
    TrainConfig,
    load_model_config,
    load_run,
    load_test_config,
    load_train_config,
)
from torchDVC.util.configuration.annotations import MismatchError, fit
from torchDVC.util.errors import ConfigError
from torchDVC.util.report import CONFIGS

CHECKOUT = Path(__file__).resolve().parents[1]

MODULES = """
from __future__ import annotations
from torchDVC.util.registry import codec_module

@codec_module(encoder_reads="frame", writes="recon", codes=True)
class ToyIntra:
    def __init__(self, width: int, levels: tuple[int, ...] = (1, 2), gain: float | None = None): ...

@codec_module(reads="refs", encoder_reads="frame", writes="flow aligned", encoder_only=True)
class ToyEstimator:
    def __init__(self, pyramid: int = 4, mode: Literal["fast", "slow"] = "fast"): ...

@codec_module(encoder_reads="flow", writes="flow_hat warped", codes=True)
class ToyMotion:
    def __init__(self): ...

@codec_module(reads="refs flow_hat", writes="mc")
class ToyCompensator:
    def __init__(self, options: dict[str, int] = {}, names: list[str] = [], on: bool = True, other: Any = None): ...

@codec_module(reads="mc", encoder_reads="frame", writes="recon", codes=True)
class ToyResidual:
    def __init__(self): ...

@codec_module(reads="flow", writes="peeked")
class ToyPeeker:
    def __init__(self): ...

@codec_module(reads="ref_flow_hat ref_flow", writes="guessed")
class ToyMemory:
    def __init__(self): ...

@codec_module(reads="frame", writes="copied")
class ToyCheater:
    def __init__(self): ...
"""
CSV = """\
code,name,type,args,weights
i,intra_codec,ToyIntra,intra.json,        # the I frames
e,motion_estimator,ToyEstimator,,
m,motion_codec,ToyMotion
c,motion_compensator,ToyCompensator,,
r,residual_codec,ToyResidual,,
"""
JSON = '{\n  "width": 8,\n  "levels": [3, 4],\n  "gain": 1\n}\n'
TRAIN = """\
[header]
lr = 1e-4
lr.motion_estimator = 1e-5   # slower
optimizer = adamw
batch_size = 3

[process: motion]
epochs = 5
pmode = e m
pairs = step123
loss.R = motion_rate
loss.D = warped_distortion/0.5*aligned_distortion

[process: joint]
imode = i
pmode = emcr
train = m c r
RNN = 2
pairs = 0>1 1>2
lr = 3e-5
lr.motion_codec = 2e-5
lmda = 256:2048
"""
TEST = """\
[header]
frames = all
data = UVG "my clips"
images = no

[process: low_delay]
imode = i
pmode = emcr
"""


def cpu_seconds_of_children() -> float:
    """Processor time of ended subprocesses: how long they take on an idle machine."""
    times = os.times()
    return times.children_user + times.children_system


@dataclass
class Workspace:
    """A folder with a small model, a train and a test cfg; the current folder."""

    path: Path

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def problems(self, kind: str = "train") -> list[str]:
        """All problems of the model and of the train or test cfg."""
        with pytest.raises(ConfigError) as caught:
            load_run("model.csv", f"{kind}.cfg", kind)  # type: ignore[call-overload]
        return list(caught.value.problems)

    def csv_problems(self, *lines: str) -> list[str]:
        """Problems of a model csv with these lines below its header (which is line 1)."""
        self.write("model.csv", "code,name,type,args,weights\n" + "\n".join(lines))
        with pytest.raises(ConfigError) as caught:
            load_model_config("model.csv")
        return list(caught.value.problems)

    def stage_problems(self, *lines: str) -> list[str]:
        """Problems of a train cfg that is one stage of these lines, from line 2."""
        self.write("train.cfg", "[process: a]\n" + "\n".join(lines))
        return self.problems()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "toys.py").write_text(MODULES)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(plugins))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    workspace = Workspace(folder)
    for name, text in (("model.csv", CSV), ("intra.json", JSON), ("train.cfg", TRAIN), ("test.cfg", TEST)):
        workspace.write(name, text)
    return workspace


# Good files


def test_a_model_csv_becomes_module_specs(workspace: Workspace) -> None:
    model = load_model_config("model.csv")
    assert (model.name, model.path) == ("model", workspace.path / "model.csv")
    assert [m.code for m in model.modules] == list("iemcr")
    intra = model.by_code("i")
    assert intra is model.by_name("intra_codec")
    assert intra.args == {"width": 8, "levels": (3, 4), "gain": 1.0}
    assert (type(intra.args["gain"]), intra.where, intra.label, intra.weights) == (float, "model.csv:2", "intra", None)
    assert [m.type.name for m in model.of_codes("rc")] == ["ToyResidual", "ToyCompensator"]


def test_weights_are_found_beside_the_csv(workspace: Workspace) -> None:
    workspace.write("start.safetensors", "")
    workspace.write("model.csv", CSV.replace("intra.json,", "intra.json,start.safetensors"))
    assert load_model_config(workspace.path / "model.csv").by_code("i").weights == workspace.path / "start.safetensors"


def test_a_train_cfg_becomes_stages(workspace: Workspace) -> None:
    _, train = load_run("model.csv", "train.cfg", "train")
    assert isinstance(train, TrainConfig)
    assert (train.name, train.optimizer, train.grad_clip, train.epochs) == ("train", "adamw", 1.0, 6)
    motion, joint = train.stages
    assert (motion.name, motion.where, motion.epochs, motion.batch_size) == ("motion", "train.cfg:7", 5, 3)
    assert (motion.pmode, motion.train, motion.pairs, motion.frames) == ("em", "em", "step123", 4)
    assert motion.loss_r == ((1.0, "motion_rate"),)
    assert motion.loss_d == ((1.0, "warped_distortion"), (0.5, "aligned_distortion"))
    assert (joint.imode, joint.pmode, joint.train, joint.rnn, joint.frames) == ("i", "emcr", "mcr", 2, 3)
    assert (joint.loss_r, joint.loss_d) == (((1.0, "rate"),), ((1.0, "distortion"),))
    assert (joint.lmda, motion.lmda, joint.steps, joint.cut) == ((256.0, 2048.0), None, None, None)


def test_learning_rates_go_from_the_stage_to_the_header(workspace: Workspace) -> None:
    _, train = load_run("model.csv", "train.cfg", "train")
    motion, joint = (stage.lr for stage in train.stages)
    assert motion == {**dict.fromkeys(motion, 1e-4), "motion_estimator": 1e-5}
    assert joint == {**dict.fromkeys(joint, 3e-5), "motion_codec": 2e-5}


def test_epochs_fall_into_stages(workspace: Workspace) -> None:
    _, train = load_run("model.csv", "train.cfg", "train")
    assert [train.stage_at(epoch) for epoch in range(6)] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    for epoch in (-1, 6):
        with pytest.raises(IndexError, match=rf"no epoch {epoch} in 6"):
            train.stage_at(epoch)


def test_a_test_cfg_becomes_processes(workspace: Workspace) -> None:
    _, test = load_run("model.csv", "test.cfg", "test")
    assert isinstance(test, TestConfig)
    assert (test.frames, test.data, test.images, test.matrix) == (None, ("UVG", "my clips"), False, "bt709")
    (process,) = test.processes
    assert (process.name, process.imode, process.pmode, process.bmode) == ("low_delay", "i", "emcr", "")
    assert process.where == "test.cfg:6"


def test_files_load_one_by_one_as_together(workspace: Workspace) -> None:
    model, train = load_run("model.csv", "train.cfg", "train")
    assert load_model_config("model.csv") == model
    assert load_train_config("train.cfg", model) == train
    assert load_test_config("test.cfg", model) == load_run("model.csv", "test.cfg", "test")[1]


def test_a_byte_order_mark_and_windows_lines_change_nothing(workspace: Workspace) -> None:
    expected = load_run("model.csv", "train.cfg", "train")
    for name, text in (("model.csv", CSV), ("intra.json", JSON), ("train.cfg", TRAIN)):
        (workspace.path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_run("model.csv", "train.cfg", "train") == expected


# Model csv


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("i,intra_codec,ToyIntr,,", "unknown module type 'ToyIntr'; did you mean 'ToyIntra'?"),
        ("ij,name,ToyMotion,,", "code 'ij'; expected one letter"),
        (",name,ToyMotion,,", "code ''; expected one letter"),
        ("i,the name,ToyMotion,,", "name 'the name'; expected a Python identifier, such as motion_codec"),
        ("i,class,ToyMotion,,", "name 'class'; expected a Python identifier, such as motion_codec"),
        ("i,name", "2 columns; expected code,name,type,args,weights (args and weights may be empty)"),
        ("i,name,ToyMotion,,,", "6 columns; expected code,name,type,args,weights (args and weights may be empty)"),
        ("i,name,ToyIntra,,", "ToyIntra needs width; expected an args file that gives it"),
        (
            "i,name,ToyIntra,intro.json,",
            "args 'intro.json'; expected a file beside this one or under configs/module; did you mean 'intra.json'?",
        ),
        ("i,name,ToyMotion,,w.pt", "weights 'w.pt'; expected a file, by its path from this one's folder"),
    ],
)
def test_a_bad_line_of_a_csv_is_said(workspace: Workspace, line: str, expected: str) -> None:
    assert workspace.csv_problems(line) == [f"model.csv:2: {expected}"]


def test_codes_names_and_rate_labels_are_unique(workspace: Workspace) -> None:
    assert workspace.csv_problems("m,motion_codec,ToyMotion,,", "# c", "m,motion_codec,ToyMotion,,") == [
        "model.csv:4: code 'm' is taken by line 2; expected another",
        "model.csv:4: name 'motion_codec' is taken by line 2; expected another",
        "model.csv:4: rate label 'motion' is taken by line 2; expected another",
    ]
    assert workspace.csv_problems("m,motion,ToyMotion,,", "n,motion_codec,ToyMotion,,") == [
        "model.csv:3: rate label 'motion' is taken by line 2; expected another"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "model.csv: holds nothing to read; expected the header code,name,type,args,weights"),
        ("# only this\n", "model.csv: holds nothing to read; expected the header code,name,type,args,weights"),
        ("code,name,type,args,weights\n", "model.csv:1: no line below the header; expected at least one module"),
        ("\ncode;name\nx", "model.csv:2: header 'code;name'; expected code,name,type,args,weights"),
    ],
)
def test_a_csv_without_modules_is_refused(workspace: Workspace, text: str, expected: str) -> None:
    workspace.write("model.csv", text)
    assert workspace.problems() == [expected]


# Module json


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n"width": 8,\n"levelz": [1]\n}', "3: ToyIntra has no argument 'levelz'; did you mean 'levels'?"),
        ('{\n"width": "8"\n}', '2: width = "8"; expected int'),
        ('{"width": true}', "1: width = true; expected int"),
        ('{"width": 8,\n\n"levels": [1, 2.5]}', "3: levels = [1, 2.5]; expected tuple[int, ...]"),
        ('{"width": 8, "gain": "x"}', '1: gain = "x"; expected float | None'),
        ('{"width": 8, "gain": 1e999}', "1: gain = Infinity; expected float | None"),
        ('{"width": 1,\n"width": 2}', "2: 'width' again; expected it once, it stands on line 1"),
        ('{"levels": [1]}', "1: ToyIntra needs width; expected it in this file"),
        ('{"width": 8,\n}', "2: not JSON: Expecting property name enclosed in double quotes (column 1)"),
        ('["width"]', '1: holds ["width"]; expected an object {…} of arguments'),
    ],
)
def test_a_bad_json_is_said_with_its_line(workspace: Workspace, text: str, expected: str) -> None:
    workspace.write("intra.json", text)
    assert workspace.problems() == [f"intra.json:{expected}"]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"width": NaN}', '{"width": ' + "1" * 5000 + "}", '{"width": 8, "gain": ' + "9" * 400 + "}"],
)
def test_extreme_json_is_refused(workspace: Workspace, text: str) -> None:
    workspace.write("intra.json", text)
    (problem,) = workspace.problems()
    assert problem.startswith("intra.json:") and len(problem) < 200


def test_values_become_what_the_annotation_says(workspace: Workspace) -> None:
    workspace.write("c.json", '{"options": {"a": 1}, "names": ["x"], "on": false, "other": [null, {"b": 2}]}')
    workspace.write("e.json", '{"mode": "slow"}')
    workspace.write(
        "model.csv", CSV.replace("ToyCompensator,", "ToyCompensator,c.json").replace("Estimator,", "Estimator,e.json")
    )
    model = load_model_config("model.csv")
    assert model.by_code("c").args == {"options": {"a": 1}, "names": ["x"], "on": False, "other": [None, {"b": 2}]}
    assert model.by_code("e").args == {"mode": "slow"}


@pytest.mark.parametrize(
    ("line", "annotation"),
    [
        ('"options": {"a": "1"}', "dict[str, int]"),
        ('"options": [1]', "dict[str, int]"),
        ('"names": "x"', "list[str]"),
        ('"on": 1', "bool"),
    ],
)
def test_values_of_other_annotations_are_checked(workspace: Workspace, line: str, annotation: str) -> None:
    workspace.write("c.json", f"{{{line}}}")
    name, value = line.split(": ", 1)
    expected = f"c.json:1: {name.strip(chr(34))} = {value}; expected {annotation}"
    assert workspace.csv_problems("c,motion_compensator,ToyCompensator,c.json") == [expected]


@pytest.mark.parametrize(
    ("annotation", "value", "fitted"),
    [
        ("", {"any": [1]}, {"any": [1]}),
        ("torch.dtype", "x", "x"),
        ("float", 2, 2.0),
        ("int | float", 2, 2),
        ("float | int", 2, 2),
        ("Optional[float]", None, None),
        ("typing.Union[int, str]", "a", "a"),
        ("'int'", 3, 3),
        ("tuple", [1, "a"], (1, "a")),
        ("tuple[()]", [], ()),
        ("tuple[int, str]", [1, "a"], (1, "a")),
        ("Sequence[float]", [1, 2], (1.0, 2.0)),
        ("list[tuple[int, ...]]", [[1], [2, 3]], [(1,), (2, 3)]),
        ("Mapping[str, float]", {"a": 1}, {"a": 1.0}),
        ("Literal['a', 1]", 1, 1),
    ],
)
def test_values_that_fit_an_annotation(annotation: str, value: Any, fitted: Any) -> None:
    assert repr(fit(value, annotation)) == repr(fitted)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", 1.0),
        ("int", True),
        ("float", True),
        ("float", "1"),
        ("float", float("inf")),
        ("str", None),
        ("bool", 0),
        ("None", 0),
        ("int | None", "x"),
        ("Optional[int]", 1.5),
        ("tuple[()]", [1]),
        ("tuple[int, str]", [1]),
        ("list[int]", [1, "a"]),
        ("Sequence[int]", "ab"),
        ("dict[str, int]", {"a": "b"}),
        ("Literal['a', 1]", True),
    ],
)
def test_values_that_do_not_fit_an_annotation(annotation: str, value: Any) -> None:
    with pytest.raises(MismatchError):
        fit(value, annotation)


# cfg files


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epoch = 3", "unknown key 'epoch' in [process: a]; did you mean 'epochs'?"),
        ("lr.motion_code = 1", "unknown key 'lr.motion_code' in [process: a]; did you mean 'lr.motion_codec'?"),
        ("epochs = 2.5", "epochs = '2.5'; expected a whole number of at least 1"),
        ("epochs =", "epochs = ''; expected a whole number of at least 1"),
        ("steps = none", "steps = 'none'; expected 'all' or a whole number of at least 1"),
        ("RNN = 3", "RNN = '3'; expected a whole number from 0 to 2"),
        ("lr = -1", "lr = '-1'; expected a number of at least 0"),
        ("lr = nan", "lr = 'nan'; expected a number of at least 0"),
        ("lr_decay = 1.5", "lr_decay = '1.5'; expected a number above 0, at most 1"),
        ("lmda = 9:3", "lmda = '9:3'; expected 'None' or a number above 0, or a range such as 256:2048"),
        ("only_rate = maybe", "only_rate = 'maybe'; expected true or false"),
        ("precision = bf16", "precision = 'bf16'; expected auto, 32, bf16-mixed or 16-mixed"),
        (
            "memory_format = channel_last",
            "memory_format = 'channel_last'; expected contiguous or channels_last; did you mean 'channels_last'?",
        ),
        ("optimizer = adam", "optimizer = 'adam'; expected in [header], since it holds for the whole run"),
        ("pairs = 0-1", "pairs = '0-1'; expected step1, step2, step3, step123, step136, or pairs such as 0>1 (P) "),
        ("loss.D = 2*", "loss.D = '2*'; expected terms such as distortion/0.5*mc_distortion, or None"),
        ("loss.D = x*distortion", "loss.D = 'x*distortion'; expected terms such as"),
        ("bmode = e-m", "bmode = 'e-m'; expected letters of the model's modules"),
        ("just words", "'just words'; expected key = value or [section]"),
        ("imode = i", "'imode' again; expected it once, it stands on line 2"),
        ("[proces: b]", "section [proces: b]; expected [header] or [process: NAME], NAME of letters, "),
        (
            "[process: a/b]",
            "section [process: a/b]; expected [header] or [process: NAME], NAME of letters, digits, _ and -",
        ),
        ("cut = 1:2:3", "cut = '1:2:3'; expected 'None' or a number of clips, or a range of them such as 500:1000"),
        ("[process: a]", "[process: a] again; it stands on line 1"),
    ],
)
def test_a_bad_line_of_a_cfg_is_said(workspace: Workspace, line: str, expected: str) -> None:
    (problem,) = workspace.stage_problems("imode = i", line)
    assert problem.startswith(f"train.cfg:3: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "train.cfg: no [process: NAME] section; expected at least one"),
        ("[header]\nlr = 1\n", "train.cfg: no [process: NAME] section; expected at least one"),
        ("lr = 1\n[process: a]\nimode = i", "train.cfg:1: 'lr = 1'; expected a section such as [header] before it"),
        ("[header]\n[header]\n[process: a]\nimode = i", "train.cfg:2: [header] again; it stands on line 1"),
    ],
)
def test_a_cfg_without_its_sections_is_refused(workspace: Workspace, text: str, expected: str) -> None:
    workspace.write("train.cfg", text)
    assert workspace.problems() == [expected]


def test_a_problem_in_the_header_is_said_once(workspace: Workspace) -> None:
    workspace.write("train.cfg", TRAIN.replace("optimizer = adamw", "optimizer = sdg"))
    assert workspace.problems() == ["train.cfg:4: optimizer = 'sdg'; expected adam, adamw or sgd; did you mean 'sgd'?"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("frames = 0", "2: frames = '0'; expected 'all' or a whole number of at least 1"),
        ('data = "open', "2: data = '\"open'; expected names or paths separated by blanks"),
        ("matrix = bt708", "2: matrix = 'bt708'; expected bt709 or bt601; did you mean 'bt709'?"),
        ("epochs = 3", "2: unknown key 'epochs' in [header]; known: bmode, data, frames, images, imode"),
    ],
)
def test_a_bad_test_cfg_is_said(workspace: Workspace, line: str, expected: str) -> None:
    workspace.write("test.cfg", f"[header]\n{line}\n[process: a]\nimode = i\n")
    (problem,) = workspace.problems("test")
    assert problem.startswith(f"test.cfg:{expected}")


# Modes, losses, pairs


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            "pmode = ecr",
            "pmode 'ecr': motion_compensator (c) reads 'flow_hat', which no module before it writes; "
            "motion_codec (m) would",
        ),
        (
            "pmode = ecmr",
            "pmode 'ecmr': motion_compensator (c) reads 'flow_hat', which no module before it writes; "
            "motion_codec (m) runs only after it",
        ),
        ("imode = e", "imode 'e': motion_estimator (e) reads 'refs', which I frames do not have"),
        (
            "pmode = emp",
            "pmode 'emp': peeker (p) reads 'flow' in the decoder, but motion_estimator (e), which writes it, "
            "runs in the encoder only",
        ),
        (
            "imode = x",
            "imode 'x': cheater (x) reads 'frame' in the decoder, which does not have it; "
            "expected it in the encoder_reads of its type",
        ),
        (
            "pmode = emy",
            "pmode 'emy': memory (y) reads 'ref_flow', but no module of the model that runs in the decoder "
            "writes 'flow'",
        ),
        ("pmode = eme", "pmode 'eme': motion_estimator (e) runs more than once; expected each module once"),
        ("pmode = ez", "pmode 'ez': no module has the code 'z'; known: i (intra_codec), e (motion_estimator)"),
    ],
)
def test_a_mode_whose_modules_miss_something_is_refused(workspace: Workspace, mode: str, expected: str) -> None:
    workspace.write("model.csv", CSV + "p,peeker,ToyPeeker\ny,memory,ToyMemory\nx,cheater,ToyCheater\n")
    (problem,) = workspace.stage_problems(mode, "loss.D = None")
    assert problem.startswith(f"train.cfg:2: {expected}")


def test_what_no_module_of_the_model_writes_is_said(workspace: Workspace) -> None:
    workspace.write("model.csv", "code,name,type,args,weights\nc,mc,ToyCompensator,,\n")
    assert workspace.stage_problems("pmode = c") == [
        "train.cfg:2: pmode 'c': mc (c) reads 'flow_hat', which no module before it writes; no module of the model does"
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["pmode = em", "train = ec"], "3: train has 'c', which runs in no mode of the stage; expected some of 'em'"),
        (["pmode = em", "RNN = 1"], "2: pmode 'em': RNN = 1 refers to 'recon', which no module of it writes; "),
        (["epochs = 1"], "1: [process: a] runs nothing; expected imode, pmode or bmode"),
        (
            ["pmode = e", "loss.R = motion_rate"],
            "3: loss.R has 'motion_rate', which pmode 'e' does not give; known: rate",
        ),
        (["pmode = e", "loss.D = flow_distortion"], "3: loss.D has 'flow_distortion', which pmode 'e' does not give"),
        (
            ["pmode = emc", "loss.D = mc_distorsion"],
            "3: loss.D has 'mc_distorsion', which pmode 'emc' does not give; did you mean 'mc_distortion'?",
        ),
        (["pmode = em", "loss.R = None", "loss.D = None"], "4: loss.R and loss.D are both None; expected at least one"),
        (["pmode = em", "loss.R = None", "only_rate = on"], "4: only_rate = true with loss.R = None leaves nothing"),
        (["pmode = em", "pairs = 0>2 0>1<2"], "3: pairs '0>2 0>1<2' has B frames; expected a bmode to code them"),
        (["bmode = em"], "1: pairs 'step1' has no B frame for bmode 'em'; expected one, as in 0>2 0>1<2"),
        (["pmode = em", "pairs = step3", "frames = 3"], "4: frames = 3; expected at least 4 for pairs 'step3'"),
        (["pmode = em", "pairs = 1>1"], "3: pairs '1>1': 1>1 refers to itself"),
        (
            ["pmode = emcr", "pairs = 1>2 0>1", "RNN = 1"],
            "3: pairs '1>2 0>1': 1>2 refers to a frame that is not coded before it; expected coding order for RNN = 1",
        ),
    ],
)
def test_a_stage_that_contradicts_itself_is_refused(workspace: Workspace, lines: list[str], expected: str) -> None:
    loss = (
        []
        if any(line.startswith("loss.D") for line in lines) or "emcr" in lines[0]
        else ["loss.D = aligned_distortion"]
    )
    (problem,) = workspace.stage_problems(*lines, *loss)
    assert problem.startswith(f"train.cfg:{expected}")


@pytest.mark.parametrize("cut", ["500", "5:10", ":5", "5:", "None"])
def test_cuts_of_the_training_list(workspace: Workspace, cut: str) -> None:
    workspace.write("train.cfg", f"[process: a]\nimode = i\ncut = {cut}\n")
    _, train = load_run("model.csv", "train.cfg", "train")
    assert train.stages[0].cut == (None if cut == "None" else cut)


def test_a_rate_only_stage_needs_no_distortion(workspace: Workspace) -> None:
    workspace.write("train.cfg", "[process: a]\npmode = em\nonly_rate = true\n")
    _, train = load_run("model.csv", "train.cfg", "train")
    assert train.stages[0].only_rate


def test_header_values_without_use_in_a_stage_are_no_problem(workspace: Workspace) -> None:
    header = "[header]\npairs = 0>2 0>1<2\nRNN = 1\n"
    workspace.write(
        "train.cfg", header + "[process: a]\nimode = i\n[process: b]\nimode = i\npmode = emcr\nbmode = emcr\n"
    )
    _, train = load_run("model.csv", "train.cfg", "train")
    assert [stage.frames for stage in train.stages] == [1, 3]


def test_a_test_process_codes_i_frames_and_reconstructs(workspace: Workspace) -> None:
    workspace.write("test.cfg", "[process: a]\npmode = em\n")
    assert workspace.problems("test") == [
        "test.cfg:1: imode is empty; expected modules for I frames, since every sequence starts with one",
        "test.cfg:2: pmode 'em': a test needs 'recon', which no module of it writes; "
        "intra_codec (i) or residual_codec (r) would",
    ]


# Everything together


def test_all_problems_of_all_files_come_in_one_report(workspace: Workspace) -> None:
    workspace.write("model.csv", CSV.replace("ToyMotion", "ToyMotoin"))
    workspace.write("intra.json", '{"width": 1.5,\n "stride": 1}')
    workspace.write("train.cfg", TRAIN.replace("epochs = 5", "epochs = five").replace("RNN = 2", "RNM = 2"))
    assert workspace.problems() == [
        "intra.json:1: width = 1.5; expected int",
        "intra.json:2: ToyIntra has no argument 'stride'; known: gain, levels, width",
        "model.csv:4: unknown module type 'ToyMotoin'; did you mean 'ToyMotion'?",
        "train.cfg:8: epochs = 'five'; expected a whole number of at least 1",
        "train.cfg:18: unknown key 'RNM' in [process: joint]; did you mean 'RNN'?",
    ]


def test_missing_files_are_said_together(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run("modle.csv", "elsewhere/x.cfg", "train")
    assert caught.value.problems == (
        "modle.csv: no such file, neither here nor under configs/model; did you mean 'model.csv'?",
        "elsewhere/x.cfg: no such file, neither here nor under configs/train",
    )


def test_a_shipped_name_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'baseline/scratch\.cfg'\?"):
        load_run("baseline.csv", "baseline/scrach.cfg", "train")


def test_a_file_of_ones_own_comes_before_a_shipped_one(workspace: Workspace) -> None:
    workspace.write("baseline.csv", CSV)
    assert load_model_config("baseline.csv").path == workspace.path / "baseline.csv"


def test_text_that_is_not_utf8_is_said(workspace: Workspace) -> None:
    (workspace.path / "train.cfg").write_bytes(b"[header]\nlr = \xff\n")
    (workspace.path / "model.csv").write_bytes(b"\xff\n")
    assert workspace.problems() == ["model.csv:1: not UTF-8 text", "train.cfg:2: not UTF-8 text"]


def test_errors_take_no_pytorch_and_no_time(workspace: Workspace) -> None:
    script = (
        "import sys\nfrom torchDVC.util.configuration import load_run\nfrom torchDVC.util.errors import ConfigError\n"
        "try: load_run('model.csv', 'nowhere.cfg', 'train')\n"
        "except ConfigError: sys.exit('torch' in sys.modules)\n"
    )
    start = cpu_seconds_of_children()
    run = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(CHECKOUT)}, cwd=workspace.path)
    assert run.returncode == 0
    assert cpu_seconds_of_children() - start < 1


# Shipped files

SHIPPED = [
    (kind, path.relative_to(CONFIGS / kind)) for kind in ("train", "test") for path in (CONFIGS / kind).rglob("*.cfg")
]


@pytest.mark.parametrize("path", sorted((CONFIGS / "model").rglob("*.csv")), ids=lambda path: path.name)
def test_every_shipped_model_loads(path: Path) -> None:
    assert load_model_config(path.relative_to(CONFIGS / "model")).modules


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda value: str(value))
def test_every_shipped_cfg_loads_with_its_model(kind: str, path: Path) -> None:
    """A cfg, or the folder that it lies in, has the name of the model that it is for."""
    model = Path(path.parts[0]).stem
    load_run(f"{model}.csv", path, kind)  # type: ignore[call-overload]


# Any text at all

SNIPPETS = [
    *"[]=,#:/*{}\"\\ \n\r\0\u2028", "💥", "[header]", "[process: a]", "lr", "lr.", "imode", "pmode", "i", "emcr", "RNN",
    "pairs", "0>1", "0>1<2", "step123", "frames", "loss.R", "rate", "None", "lmda", "-1", "1e999", "9" * 30, "width",
    "ToyIntra", "intra.json", "..", "~", "true", "null", "[1, 2]",
]  # fmt: skip
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """Any text, text made of what the formats are made of, or ``text`` with some of that put in or cut out."""
    noise = "".join(draw(st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=3), max_size=12)))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 20)))
    return draw(st.sampled_from([noise, text[:start] + noise + text[end:], text[:start] + text[end:]]))


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("model.csv", CSV, "train"),
        ("intra.json", JSON, "train"),
        ("train.cfg", TRAIN, "train"),
        ("test.cfg", TEST, "test"),
    ],
)
def test_any_text_gives_a_configuration_or_its_problems(workspace: Workspace, name: str, text: str, kind: str) -> None:
    @QUICK
    @given(damaged(text))
    def check(content: str) -> None:
        (workspace.path / name).write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            model, _ = load_run("model.csv", f"{kind}.cfg", kind)  # type: ignore[call-overload]
        except ConfigError as error:
            assert error.problems and all(problem.isprintable() for problem in error.problems)
        else:
            assert isinstance(model, ModelConfig) and model.modules

    check()
