"""Files and flags of *Learned Codec Protocol*: what works as it was, and the one line for what is called otherwise."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tests.configuration_workspace import CSV, TRAIN, Workspace, make_workspace
from tests.small_model import CSV as SMALL_CSV
from tests.small_model import SmallModel, different, metrics
from torchDVC.coding_structure import training_frames

OLD_CFG = """\
* Header
i - lr: 0.
e - lr: 0.00001, e_has_frame: 0

* End

* Process
imode:  , pmode: eMR, bmode: , epoch:  5, batch_size: 16, RNN: 0, val_RNN: 0, pairs: step1

* End
"""
SEE = "see docs/migration.md"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return make_workspace(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("train.cfg", OLD_CFG,
         f"train.cfg:1: '* Header' of Learned Codec Protocol; expected [header] and [process: NAME], {SEE}"),
        ("model.csv", CSV.replace("args,weights", "args_path"),
         "model.csv:1: header 'code,name,type,args_path'; expected code,name,type,args,weights; args takes its place, "
         + SEE),
        ("model.csv", CSV.replace("ToyMotion", "MENet"),
         f"model.csv:4: unknown module type 'MENet'; SPyNet takes its place, {SEE}"),
        ("train.cfg", TRAIN.replace("epochs = 5", "epoch = 5"),
         f"train.cfg:8: unknown key 'epoch' in [process: motion]; epochs takes its place, {SEE}"),
        ("train.cfg", TRAIN.replace("epochs = 5", "epoch: 5, batch_size: 16"),
         f"train.cfg:8: 'epoch: 5, batch_size: 16'; expected key = value or [section], {SEE}"),
        ("train.cfg", TRAIN.replace("epochs = 5", "e_has_frame = 1"),
         f"train.cfg:8: unknown key 'e_has_frame' in [process: motion]; option.NAME.has_frame takes its place, {SEE}"),
        ("train.cfg", "[process: a]\npmode = eM\nloss.D = None\n",
         f"train.cfg:2: pmode 'eM': no module has the code 'M'; expected 'em' and train = m, {SEE}"),
    ],
)  # fmt: skip
def test_errors_point_to_the_page(workspace: Workspace, file: str, text: str, expected: str) -> None:
    workspace.write(file, text)
    assert expected in workspace.problems()
    assert (Path(__file__).parents[1] / "docs/migration.md").is_file()


def test_load_same_points_to_the_page(small_model: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert small_model.train("run", "--restore", "load_same", "--checkpoint", str(small_model.path)) == 2
    said = "--restore 'load_same'; expected load, with --new_modules for what the checkpoint lacks"
    assert capsys.readouterr().err == f"{said}, {SEE}\n"


def test_a_checkpoint_may_lack_new_modules_when_told(
    small_model: SmallModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second compensator stands in the csv that is loaded into; only it may be missing, and only if it is named."""
    assert small_model.train("old", "--end_epoch", "1") == 0
    small_model.write("model.csv", SMALL_CSV + "f,second_compensator,Refinement,refinement.json,\n")
    small_model.write("new.cfg", "[process: a]\nimode = i\npmode = emcr\ntrain = c\nsteps = 1\nlr = 0\naux_lr = 0\n"
                                 "data = DATA\nbatch_size = 1\npatch_size = 64\n")  # fmt: skip
    load = ("--restore", "load", "--checkpoint", str(small_model.path / "old/checkpoints/last.safetensors"))
    assert small_model.train("refused", *load, cfg="new.cfg") == 2
    assert "missing (second_compensator." in capsys.readouterr().err
    for codes, bad in (("fx", "x"), ("F", "F")):
        assert small_model.train("refused", *load, "--new_modules", codes, cfg="new.cfg") == 2
        said = f"--new_modules {codes}: no module has the code '{bad}'; known: i (intra_codec)"
        assert said in capsys.readouterr().err
    assert small_model.train("new", *load, "--new_modules", "f", cfg="new.cfg") == 0
    old, new = small_model.weights("old"), small_model.weights("new")
    kept = {name: x for name, x in new.items() if not name.startswith("second_compensator.")}
    assert len(kept) < len(new) and different(old, kept) <= {"lmdas"}


def test_steps_joined_by_or_are_drawn() -> None:
    rng = random.Random(0)
    drawn = {training_frames("step1orstep2", 5, rng)[1].index for _ in range(40)}
    spaced = {training_frames("step2 or step3", 7, rng)[1].index for _ in range(40)}
    assert (drawn, spaced) == ({1, 2}, {2, 3})


def test_validation_may_have_other_references_than_training(small_model: SmallModel) -> None:
    """From reconstructions where training has source frames: the same as training and validating from them."""
    stage = "[process: a]\nimode = i\npmode = emcr\nframes = 3\nsteps = 1\nlr = 0\naux_lr = 0\ndata = DATA\n"
    stage += "batch_size = 1\npatch_size = 64\n"
    found = {}
    for name, keys in (("sources", "RNN = 0"), ("both", "RNN = 0\nval_RNN = 1"), ("coded", "RNN = 1")):
        small_model.write(f"{name}.cfg", stage + keys + "\n")
        assert small_model.train(name, "--per_val", "1", cfg=f"{name}.cfg") == 0
        found[name] = float(metrics(small_model, name)[-1]["val_distortion"])
    assert found["both"] == found["coded"] != found["sources"]
    assert torch.isfinite(torch.tensor(list(found.values()))).all()


def different_parts(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The parts of modules any of whose tensors differ."""
    return {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])} - {"lmdas"}


def test_a_part_of_a_module_may_learn_alone(small_model: SmallModel, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the residual codec the synthesis, and the compensator whole; then its latent codec, in each way to say so."""
    stage = "imode = i\npmode = emcr\nsteps = 1\ndata = DATA\nbatch_size = 1\npatch_size = 64\n"
    first = f"[process: a]\ntrain = c\nlr = 0\naux_lr = 0\n{stage}\n"
    small_model.write("a.cfg", first + f"[process: b]\ntrain = c r.g_s\n{stage}")
    assert small_model.train("run", cfg="a.cfg") == 0
    moved = different_parts(small_model.weights("run", "01_a"), small_model.weights("run"))
    assert {name for name in moved if name.startswith("residual")} == {"residual_codec.g_s"}
    assert {name.split(".")[0] for name in moved} == {"residual_codec", "motion_compensator"}
    for keys in ("train = r.hyperprior", "train = cr\nfreeze = c r.g_*"):
        small_model.write("b.cfg", first + f"[process: b]\n{keys}\n{stage}")
        assert small_model.train("hyper", cfg="b.cfg") == 0
        moved = different_parts(small_model.weights("hyper", "01_a"), small_model.weights("hyper"))
        assert moved == {"residual_codec.latent"}
    small_model.write("b.cfg", f"[process: b]\ntrain = r\nfreeze = r.g_? r.hyperprior\n{stage}")
    assert small_model.train("none", cfg="b.cfg") == 2
    assert "train 'r' has nothing to learn but what freeze = r.g_? r.hyperprior names" in capsys.readouterr().err
    cfg = small_model.write("a.cfg", f"[process: a]\ntrain = c r.g_z\n{stage}")
    assert small_model.train("other", cfg="a.cfg") == 2
    assert f"{cfg}:2: train has 'r.g_z', no part of that module; did you mean 'g_s'?\n" in capsys.readouterr().err
    cfg.write_text("[process: a]\nimode = i\ntrain = ir.g_s\n")
    assert small_model.train("other", cfg="a.cfg") == 2
    said = "train = 'ir.g_s'; expected codes of modules, or of a part of one such as r.hyperprior"
    assert capsys.readouterr().err == f"{cfg}:3: {said}\n"
