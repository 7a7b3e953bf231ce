"""Configuration: what good files become, all problems in one report, and any text at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.configuration_workspace import CSV, JSON, TEST, TRAIN, Workspace, make_workspace
from torchDVC.config import (
    ModelConfig,
    TestConfig,
    TrainConfig,
    load_model_config,
    load_run,
    load_test_config,
    load_train_config,
)
from torchDVC.config.problems import CONFIGS
from torchDVC.util.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[1]


def cpu_seconds_of_children() -> float:
    """Processor time of ended subprocesses: how long they take on an idle machine."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return make_workspace(tmp_path, monkeypatch)


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
    assert (train.name, train.epochs) == ("train", 6)
    assert {(stage.optimizer, stage.grad_clip) for stage in train.stages} == {("adamw", 1.0)}
    motion, joint = train.stages
    assert (motion.name, motion.where, motion.epochs, motion.batch_size) == ("motion", "train.cfg:7", 5, 3)
    assert (motion.pmode, motion.train, motion.pairs, motion.frames) == ("em", "em", "step123", 4)
    assert motion.loss_r == ((1.0, "motion_rate"),)
    assert motion.loss_d == ((1.0, "warped_distortion"), (0.5, "flow_warped_distortion"))
    assert (joint.imode, joint.pmode, joint.train, joint.rnn, joint.frames) == ("i", "emcr", "mcr", 2, 3)
    assert (joint.loss_r, joint.loss_d) == (((1.0, "rate"),), ((1.0, "distortion"),))
    assert (joint.lmda, motion.lmda, joint.steps, joint.cut) == ((256.0, 2048.0), None, None, None)


def test_learning_rates_go_from_the_stage_to_the_header(workspace: Workspace) -> None:
    _, train = load_run("model.csv", "train.cfg", "train")
    motion, joint = (stage.lr for stage in train.stages)
    assert motion == {**dict.fromkeys(motion, 1e-4), "motion_estimator": 1e-5}
    assert joint == {**dict.fromkeys(joint, 3e-5), "motion_codec": 2e-5}


def test_what_is_set_on_the_command_line_holds_in_every_stage(workspace: Workspace) -> None:
    said = ("epochs=3", "batch_size = 7", "lr=5e-6", "data=a b")
    _, train = load_run("model.csv", "train.cfg", "train", said)
    assert [(stage.epochs, stage.batch_size, stage.data) for stage in train.stages] == [(3, 7, "a b")] * 2
    assert all(stage.lr["intra_codec"] == 5e-6 for stage in train.stages)
    with pytest.raises(ConfigError) as caught:
        load_run("model.csv", "train.cfg", "train", ("epochs=none", "RNM=1"))
    assert caught.value.problems == (
        "--set: epochs = 'none'; expected a whole number of at least 1",
        "--set: unknown key 'RNM' in [header]; did you mean 'RNN'?",
    )


def test_epochs_fall_into_stages(workspace: Workspace) -> None:
    _, train = load_run("model.csv", "train.cfg", "train")
    assert [train.stage_at(epoch) for epoch in range(6)] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    for epoch in (-1, 6):
        with pytest.raises(IndexError, match=rf"no epoch {epoch} in 6"):
            train.stage_at(epoch)


def test_a_test_cfg_becomes_processes(workspace: Workspace) -> None:
    _, test = load_run("model.csv", "test.cfg", "test")
    assert isinstance(test, TestConfig)
    assert (test.frames, test.data, test.images, test.matrix) == (None, ("UVG", "my clips"), False, None)
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
        "import sys\nfrom torchDVC.config import load_run\nfrom torchDVC.util.errors import ConfigError\n"
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
    """A cfg, or the folder that it lies in, has the name of the model that it is for, or of a folder of such models."""
    name = Path(path.parts[0]).stem
    models = sorted((CONFIGS / "model" / name).glob("*.csv")) or [Path(f"{name}.csv")]
    for model in models:
        load_run(model, path, kind)  # type: ignore[call-overload]


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
