"""Files of configuration: what is said, and where, about every kind of bad csv, json and cfg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.configuration_workspace import CSV, TRAIN, Workspace, make_workspace
from torchDVC.config import load_model_config
from torchDVC.config.annotations import MismatchError, fit


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return make_workspace(tmp_path, monkeypatch)


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
        ("i,name,ToyMotion,,w.pt", "weights 'w.pt'; expected a file or a folder, by its path from this one's folder"),
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
        ('{"width": 0}', "1: width = 0; expected int of at least 1"),
        ('{"width": 8,\n"levels": [1, -1]}', "2: levels = [1, -1]; expected tuple[int, ...] of at least 1"),
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
    assert repr(fit(value, annotation, least=1)) == repr(fitted)


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
        ("int", 0),
        ("'int'", 0),
        ("int | None", -1),
        ("Union[str, int]", 0),
        ("tuple[int, ...]", [1, 0]),
        ("list[tuple[int, ...]]", [[1], [0]]),
        ("dict[str, int]", {"a": 0}),
    ],
)
def test_values_that_do_not_fit_an_annotation(annotation: str, value: Any) -> None:
    with pytest.raises(MismatchError):
        fit(value, annotation, least=1)


# cfg files


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epoch = 3", "unknown key 'epoch' in [process: a]; epochs takes its place, see docs/migration.md"),
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
            "memory_format = 'channel_last'; expected auto, contiguous or channels_last; did you mean 'channels_last'?",
        ),
        ("optimizer = lion", "optimizer = 'lion'; expected adam, adamw or sgd"),
        ("lr_schedule = cosin", "lr_schedule = 'cosin'; expected exponential, cosine, step or plateau; did you mean "),
        ("lr_schedule = plateau", "lr_schedule = plateau with lr_decay = 1 changes nothing; expected"),
        ("lr_steps = 3 2", "lr_steps = '3 2'; expected whole numbers of epochs in rising order, such as 10 15"),
        ("lr_final = 0.1", "lr_final has no use with lr_schedule = exponential; expected lr_schedule = cosine"),
        ("gray_intra = 0.1", "gray_intra has no use in a stage of I frames; expected frames that refer to"),
        ("ema = 1", "ema = '1'; expected a number of at least 0, at most 0.999999"),
        ("pairs = 0-1", "pairs = '0-1'; expected step1, step2, step3, step123, step136, or pairs such as 0>1 (P), "),
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
        ("epochs = 3", "2: unknown key 'epochs' in [header]; known: bmode, data, feature_reset, frames, images, imode"),
    ],
)
def test_a_bad_test_cfg_is_said(workspace: Workspace, line: str, expected: str) -> None:
    workspace.write("test.cfg", f"[header]\n{line}\n[process: a]\nimode = i\n")
    (problem,) = workspace.problems("test")
    assert problem.startswith(f"test.cfg:{expected}")
