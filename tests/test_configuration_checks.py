"""Modes, losses and pairs: a stage or a test that could not run as it says is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.configuration_workspace import CSV, Workspace, make_workspace
from torchDVC.config import load_run


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return make_workspace(tmp_path, monkeypatch)


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
        (["pmode = em", "RNN = 1", "frames = 3"], "2: pmode 'em': RNN = 1 refers to 'recon', which no module of it"),
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
        (
            ["pmode = emc", "train = c", "loss.R = motion_rate", "loss.D = None"],
            "3: train 'c': the loss (motion_rate) does not depend on it; expected some of 'em'",
        ),
        (
            ["pmode = emcr", "train = r", "loss.R = motion_rate", "loss.D = mc_distortion"],
            "3: train 'r': the loss (motion_rate, mc_distortion) does not depend on it; expected some of 'emc'",
        ),
        (
            ["imode = i", "pmode = emc", "train = ci", "loss.R = motion_rate", "loss.D = warped_distortion"],
            "4: train 'ci': the loss (motion_rate, warped_distortion) does not depend on it; expected some of 'em'",
        ),
        (
            ["pmode = emc", "train = c", "loss.R = motion_rate", "only_rate = on", "loss.D = mc_distortion"],
            "3: train 'c': the loss (motion_rate) does not depend on it; expected some of 'em'",
        ),
        (["pmode = e", "loss.D = None"], "1: train 'e': the loss (rate) does not depend on it"),
        (["pmode = em", "pairs = 0>2 0>1<2"], "3: pairs '0>2 0>1<2' has B frames; expected bmode to code them"),
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
        else ["loss.D = flow_warped_distortion"]
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


def test_what_comes_back_by_the_references_can_be_learned_from(workspace: Workspace) -> None:
    stage = "pmode = emcr\ntrain = r\nloss.R = motion_rate\nloss.D = None\nframes = 3\n"
    workspace.write("train.cfg", f"[process: a]\nRNN = 2\n{stage}")
    load_run("model.csv", "train.cfg", "train")
    workspace.write("train.cfg", f"[process: a]\nRNN = 1\n{stage}")
    (problem,) = workspace.problems()
    assert problem.startswith("train.cfg:4: train 'r': the loss (motion_rate) does not depend on it")


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


MEMORIES = CSV + "h,recaller,ToyRecaller\nw,willing,ToyWilling\nd,meddler,ToyMeddler\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["imode = i", "pmode = emch"],
            "3: pmode 'emch': recaller (h) reads 'ref_mc', which imode 'i' does not write; "
            "expected it in the optional of ToyRecaller",
        ),
        (
            ["pmode = emch"],
            "2: pmode 'emch': recaller (h) reads 'ref_mc', which frames lack that no imode codes; "
            "expected it in the optional of ToyRecaller",
        ),
        (["pmode = emd"], "2: pmode 'emd': meddler (d) writes 'flow_hat' again, in the encoder only; expected another"),
        (["imode = i", "pairs = 4", "frames = 4"], "4: frames = 4; expected at least 5 for pairs '4'"),
        (
            ["pmode = emcr", "pairs = 4 0>1"],
            "3: pairs '4 0>1' has I frames; expected imode to code them",
        ),
        (["pmode = emc", "loss.D = mc~flow_hat_distortion"], "3: loss.D has 'mc~flow_hat_distortion', which pmode"),
        (["pmode = emc", "loss.D = flow_hat_distortion"], "3: loss.D has 'flow_hat_distortion', which pmode 'emc'"),
        (["pmode = emc", "loss.D = mc~_distortion"], "3: loss.D has 'mc~_distortion', which"),
    ],
)
def test_what_the_first_step_would_miss_is_refused(workspace: Workspace, lines: list[str], expected: str) -> None:
    workspace.write("model.csv", MEMORIES)
    named = any(line.startswith(("loss.D", "imode = i")) for line in lines) or "r" in lines[0]
    problem = workspace.stage_problems(*lines, *([] if named else ["loss.D = None"]))[0]
    assert problem.startswith(f"train.cfg:{expected}")


def test_optional_references_and_pairs_of_pictures_are_accepted(workspace: Workspace) -> None:
    workspace.write("model.csv", MEMORIES)
    stage = "imode = i\npmode = emcrw\nloss.D = distortion/0.5*mc~warped_distortion\npairs = 4 0>1 1,0>2<4\n"
    workspace.write("train.cfg", f"[process: a]\n{stage}bmode = emcr\nRNN = 1\n")
    _, train = load_run("model.csv", "train.cfg", "train")
    assert train.stages[0].frames == 5
    assert train.stages[0].loss_d == ((1.0, "distortion"), (0.5, "mc~warped_distortion"))
