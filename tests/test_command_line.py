"""Command lines of trainer and tester: every flag, defaults, and one line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.config.command_line import RunOptions, TestOptions, TrainOptions, parse_tester, parse_trainer
from torchDVC.util.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[1]
LEAST = "--lmda 2048 --model_config baseline.csv --run_config baseline.cfg"
PARSERS = [parse_trainer, parse_tester]

DESIGN_FLAGS = """
--experiment_name NAME --experiment_key 0123456789abcdef0123456789abcdef --project_name NAME --i_lmda 512
--patch_size 128 --ssim --ssim_factor 0.1 --aux --static --static_rate 0.2 --device cpu --gpu 2 --no_sanity --no_comet
--no_image --test_datasets UVG HEVC-B --test_seqs Beauty --per_val 2 --per_save 3 --restore load --checkpoint .
--not_load_I --num_workers 1 --start_epoch 4 --end_epoch 5 --max_minutes 1.5 --save_dir DIR --final_copy COPY
--print_model --precision 32 --compile --seed 7 --set steps=3 lr=1e-3
"""


def cpu_seconds_of_children() -> float:
    """Processor time of ended subprocesses: how long they take on an idle machine."""
    times = os.times()
    return times.children_user + times.children_system


def train(arguments: str) -> TrainOptions:
    return parse_trainer(f"{LEAST} {arguments}".split())


def test(arguments: str) -> TestOptions:
    return parse_tester(f"{LEAST} {arguments}".split())


test.__test__ = False  # type: ignore[attr-defined]


def problems(parse: Callable[..., RunOptions], arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(arguments.split())
    return list(caught.value.problems)


def test_the_trainer_command_of_the_readme() -> None:
    command = "--lmda 2048 --intra_period 32 --gop_size 1 --model_config baseline.csv --run_config baseline/scratch.cfg"
    options = parse_trainer([*command.split(), "--start_epoch", "0"])
    assert (options.lmda, options.i_lmda, options.intra_period, options.gop_size) == (2048.0, 2048.0, 32, 1)
    assert (options.model_config, options.run_config) == ("baseline.csv", "baseline/scratch.cfg")
    assert (options.start_epoch, options.end_epoch, options.restore) == (0, None, "none")


def test_the_tester_command_of_the_readme(tmp_path: Path) -> None:
    options = parse_tester(
        "--lmda 2048 --intra_period 32 --gop_size 1 --model_config baseline.csv --run_config baseline.cfg --no_image "
        f"--save_dir {tmp_path}/out --restore load --checkpoint {tmp_path}".split()
    )
    assert (options.no_image, options.save_dir, options.folder) == (True, tmp_path / "out", tmp_path / "out")
    assert (options.restore, options.checkpoint, options.write_stream) == ("load", tmp_path, False)


def test_every_flag_of_the_trainer_sets_its_field() -> None:
    assert train(DESIGN_FLAGS) == TrainOptions(
        lmda=2048.0, model_config="baseline.csv", run_config="baseline.cfg", experiment_name="NAME",
        experiment_key="0123456789abcdef0123456789abcdef", project_name="NAME", i_lmda=512.0, patch_size=128,
        ssim=True, ssim_factor=0.1, aux=True, static=True, static_rate=0.2, device="cpu", gpu=2, no_sanity=True,
        no_comet=True, no_image=True, test_datasets=("UVG", "HEVC-B"), test_seqs=("Beauty",), per_val=2, per_save=3,
        restore="load", checkpoint=Path("."), not_load_I=True, num_workers=1, start_epoch=4, end_epoch=5,
        max_minutes=1.5, save_dir=Path("DIR"), final_copy=Path("COPY"), print_model=True, precision="32",
        compile=True, seed=7, set=("steps=3", "lr=1e-3"),
    )  # fmt: skip


def test_shared_flags_mean_the_same_to_the_tester() -> None:
    own = {field.name for field in dataclasses.fields(TrainOptions)} - {f.name for f in dataclasses.fields(RunOptions)}
    shared = re.sub(
        rf"--({'|'.join(sorted(own, key=len, reverse=True))})\b( [^-]\S*)?", "", " ".join(DESIGN_FLAGS.split())
    )
    trained, tested = train(shared), test(shared)
    for field in dataclasses.fields(RunOptions):
        assert getattr(trained, field.name) == getattr(tested, field.name)


def test_defaults_that_follow_other_flags() -> None:
    assert train("").i_lmda == 2048.0
    assert (train("").static_rate, train("--static").static_rate) == (0.0, 0.1)
    assert (train("").lmda_scale, train("--ssim").lmda_scale, train("--ssim --ssim_factor 1/64").lmda_scale) == (
        1.0, 1 / 32, 1 / 64,
    )  # fmt: skip
    assert (train("").aux, train("--no-aux").aux) == (True, False)


def test_folders_follow_name_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOG", raising=False)
    assert (train("").folder, test("").folder) == (Path("log/baseline_2048"), Path("results/baseline_2048"))
    assert train("--experiment_name mine").folder == Path("log/mine")
    assert train("--ssim").name == "baseline_2048_ssim"
    monkeypatch.setenv("LOG", "/logs")
    assert (train("").folder, test("").folder) == (Path("/logs/baseline_2048"), Path("/logs/results/baseline_2048"))
    assert train("--save_dir here").folder == Path("here")


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--lmba 3", "unknown flag '--lmba'; did you mean '--lmda'?"),
        ("--lm=3", "unknown flag '--lm'"),
        ("--qqqqq 1 2", "unknown flag '--qqqqq'; --help lists them"),
        ("extra", "unexpected argument 'extra'; expected flags only, --help lists them"),
        ("--seed", "--seed: expected one argument"),
        ("--no_image=1", "--no_image: ignored explicit argument '1'"),
        ("--lmda 0", "--lmda '0'; expected a number above 0"),
        ("--lmda -5", "--lmda '-5'; expected a number above 0"),
        ("--lmda inf", "--lmda 'inf'; expected a number above 0"),
        ("--gop_size 3", "--gop_size '3'; expected 1 (low-delay P) or a power of two (hierarchical B)"),
        ("--checkpoint nowhere", "--checkpoint 'nowhere'; expected a file or folder that exists"),
        ("--checkpoint .", "--checkpoint has no use without --restore; expected --restore load"),
        ("--restore load", "--restore load needs --checkpoint; expected the path of one"),
        ("--restore lode", "--restore 'lode'; expected none, load or resume; did you mean 'load'?"),
        ("--not_load_I", "--not_load_I has no use without --restore load; expected both or neither"),
        ("--device gpu", "--device 'gpu'; expected auto, cpu or cuda"),
        ("--precision 16", "--precision '16'; expected auto, 32, bf16-mixed or 16-mixed"),
        ("--experiment_name a/b", "--experiment_name 'a/b'; expected a name without '/'"),
        ("--experiment_name ..", "--experiment_name '..'; expected a name without '/'"),
        ("--test_datasets", "--test_datasets: expected at least one argument"),
    ],
)
def test_one_line_says_what_is_wrong(parse: Callable[..., RunOptions], arguments: str, expected: str) -> None:
    (problem,) = problems(parse, f"{LEAST} {arguments}")
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--start_epoch 3 --end_epoch 3", "--end_epoch 3; expected more than --start_epoch 3"),
        ("--static_rate 1.5", "--static_rate '1.5'; expected a number of at least 0, at most 1"),
        ("--per_val 0", "--per_val '0'; expected a whole number of at least 1"),
        ("--no_aux", "unknown flag '--no_aux'; did you mean '--no-aux'?"),
    ],
)
def test_one_line_says_what_is_wrong_in_training(arguments: str, expected: str) -> None:
    assert problems(parse_trainer, f"{LEAST} {arguments}") == [expected]


def test_the_tester_cannot_resume() -> None:
    assert problems(parse_tester, f"{LEAST} --restore resume") == [
        "--restore resume is for trainer.py; expected none or load"
    ]


@pytest.mark.parametrize("arguments", ["--intra_period 0 --gop_size 8", "--restore resume", "--gop_size 32"])
def test_flags_that_look_odd_but_are_right(arguments: str) -> None:
    assert train(arguments)


def test_all_problems_come_together() -> None:
    assert problems(parse_trainer, "--lmda x --gop_sise 2 --run_config a.cfg --seed -1") == [
        "unknown flag '--gop_sise'; did you mean '--gop_size'?",
        "--model_config is missing; expected model csv: a name under configs/model, or a path",
        "--lmda 'x'; expected a number above 0",
        "--seed '-1'; expected a whole number of at least 0",
    ]


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=200, deadline=None)
@given(
    arguments=st.lists(st.sampled_from([*LEAST.split(), *DESIGN_FLAGS.split(), "-", "--", "-x"]) | st.text(max_size=4))
)
def test_any_arguments_give_options_or_problems(parse: Callable[..., RunOptions], arguments: list[str]) -> None:
    try:
        assert isinstance(parse([a for a in arguments if a not in ("-h", "--help")]), RunOptions)
    except ConfigError as error:
        assert error.problems


@pytest.mark.parametrize(("parser", "options"), [("parse_trainer", TrainOptions), ("parse_tester", TestOptions)])
def test_help_lists_every_flag_at_once_without_pytorch(parser: str, options: type[RunOptions]) -> None:
    script = (
        f"import sys\nfrom torchDVC.config.command_line import {parser}\n"
        f"try: {parser}(['--help'])\n"
        "except SystemExit as end: sys.exit(end.code or 'torch' in sys.modules)\n"
    )
    start = cpu_seconds_of_children()
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CHECKOUT)
    assert cpu_seconds_of_children() - start < 1
    assert (run.returncode, run.stderr) == (0, "")
    for field in dataclasses.fields(options):
        assert re.search(rf"^  --{field.name}\b", run.stdout, re.MULTILINE), field.name


@pytest.mark.parametrize("script", ["trainer.py", "tester.py"])
def test_scripts_report_everything_and_exit_with_2(script: str, tmp_path: Path) -> None:
    (tmp_path / "model.csv").write_text("code,name,type,args,weights\ni,intra_codec,IntraCodek,,\n")
    (tmp_path / "run.cfg").write_text("[process: a]\nimod = i\n")
    flags = ["--lmda", "2048", "--model_config", "model.csv", "--run_config", "run.cfg"]
    command = [sys.executable, str(CHECKOUT / "torchDVC" / script)]
    start = cpu_seconds_of_children()
    bad_files = subprocess.run([*command, *flags], cwd=tmp_path, capture_output=True, text=True)
    bad_flag = subprocess.run([*command, *flags, "--sead", "3"], cwd=tmp_path, capture_output=True, text=True)
    assert cpu_seconds_of_children() - start < 2
    assert (bad_files.returncode, bad_files.stdout) == (2, "")
    assert bad_files.stderr.splitlines() == [
        "model.csv:2: unknown module type 'IntraCodek'; did you mean 'IntraCodec'?",
        "run.cfg:2: unknown key 'imod' in [process: a]; did you mean 'imode'?",
    ]
    assert (bad_flag.returncode, bad_flag.stderr) == (2, "unknown flag '--sead'; did you mean '--seed'?\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.csv", "run.cfg"]
