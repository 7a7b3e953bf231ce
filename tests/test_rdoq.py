"""Symbols chosen by rate and distortion: what is chosen, what it saves, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.lively_models import clip, lively, lively_model, read_stream, small, write_stream
from tests.small_model import TEST, SmallModel
from torchDVC.codec import main
from torchDVC.coding_structure import CodingStructure
from torchDVC.config import load_model_config
from torchDVC.entropy.priors import GaussianPrior, GaussianTables
from torchDVC.entropy.symbol_streams import EstimatingStream, ReadingStream, WritingStream
from torchDVC.models import checkpoints
from torchDVC.models.model_file import content_hash
from torchDVC.results.rows import read_rows

WORTH = 0.1


def latent_and_prior(part: str = "latent") -> tuple[Tensor, GaussianPrior]:
    """Laplacian latents under Gaussians of half their width to twice it."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(8, 30, (1, 16, 12, 12), generator=generator).float()
    prior = GaussianPrior(torch.full_like(index, 0.25), index, GaussianTables().tables, part)
    sign = torch.randint(0, 2, index.shape, generator=generator) * 2 - 1
    exponential = torch.empty_like(index).exponential_(generator=generator)
    return prior.mean + sign * exponential * prior.scale, prior


def coded(y: Tensor, prior: GaussianPrior, rdoq: float) -> tuple[Tensor, float]:
    """The decoder's latent, and bits."""
    stream = EstimatingStream(rdoq=rdoq)
    return stream.code(y, prior), float(sum(stream.rates().values()))


def test_it_costs_less_than_rounding_and_stays_by_the_nearest_integers() -> None:
    y, prior = latent_and_prior()
    (plain, plain_bits), (chosen, bits) = coded(y, prior, 0.0), coded(y, prior, WORTH)
    assert bits < 0.95 * plain_bits
    costs = [float((y - x).square().sum()) + WORTH * b for x, b in ((chosen, bits), (plain, plain_bits))]
    assert costs[0] < costs[1]
    nearest, taken = plain - prior.mean, chosen - prior.mean
    assert bool(((taken == nearest) | (taken == nearest - nearest.sign())).all())


def test_a_decoder_reads_what_was_chosen() -> None:
    y, prior = latent_and_prior()
    stream = WritingStream(rdoq=WORTH)
    written = stream.code(y, prior)
    reader = ReadingStream(stream.payload())
    assert torch.equal(reader.code(None, prior), written)
    reader.end()


def test_hyper_latents_and_integers_are_left_as_they_are() -> None:
    y, prior = latent_and_prior("hyper")
    assert torch.equal(coded(y, prior, WORTH)[0], coded(y, prior, 0.0)[0])
    y, prior = latent_and_prior()
    values = (y - prior.mean).round() + prior.mean
    assert torch.equal(EstimatingStream(rdoq=10.0).code_integers(values, prior), values)


def test_models_that_differ_in_it_alone_decode_one_another(tmp_path: Path) -> None:
    plain = lively_model(small(load_model_config("baseline.csv")))
    choosing = replace(plain, modes=replace(plain.modes, rdoq=WORTH))
    assert content_hash(choosing.codec, choosing.modes) == plain.hash
    pictures, structure = clip(3, (40, 56)), CodingStructure(0)
    rounded = write_stream(tmp_path / "rounded.lcp", plain, structure, pictures)
    chosen = write_stream(tmp_path / "chosen.lcp", choosing, structure, pictures)
    assert (tmp_path / "chosen.lcp").stat().st_size < (tmp_path / "rounded.lcp").stat().st_size
    assert not torch.equal(chosen[0], rounded[0])
    decoded = read_stream(tmp_path / "chosen.lcp", plain)
    assert all(torch.equal(decoded[index], picture) for index, picture in chosen.items())


def test_a_test_takes_it_from_its_cfg_or_a_flag_and_records_it(small_model: SmallModel) -> None:
    checkpoint = small_model.path / "trained.safetensors"
    checkpoints.save(checkpoint, {"model": lively(small_model.codec()).state_dict()})
    cfg = small_model.write("rdoq.cfg", TEST.replace("imode", "rdoq = 0.1\nimode")).name
    flags = ["--restore", "load", "--checkpoint", str(checkpoint), "--test_seqs", "one", "--no_image"]
    assert small_model.test("chosen", *flags, cfg=cfg) == 0
    assert small_model.test("rounded", *flags, "--rdoq", "0", cfg=cfg) == 0
    assert small_model.test("streams", *flags, "--rdoq", "0.1", "--write_stream") == 0
    chosen, rounded, streams = (
        read_rows(small_model.path / run / "rd.csv")[0] for run in ("chosen", "rounded", "streams")
    )
    assert (chosen.settings, rounded.settings) == ("precision 32, rdoq 0.1", "precision 32")
    assert streams.settings == "precision 32, real stream, rdoq 0.1"
    assert (chosen.bpp_estimated or 0) < 0.95 * (rounded.bpp_estimated or 0)
    assert streams.bpp_estimated == pytest.approx(chosen.bpp_estimated, rel=1e-6)


def test_an_encoder_takes_it_from_the_model_file_or_a_flag_and_says_it(
    small_model: SmallModel, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    checkpoint, model = tmp_path / "trained.safetensors", str(tmp_path / "model.safetensors")
    checkpoints.save(checkpoint, {"model": lively(small_model.codec()).state_dict()})
    small_model.write("test.cfg", TEST.replace("imode", "rdoq = 0.1\nimode"))
    flags = ["--model_config", str(small_model.path / "model.csv"), "--run_config", str(small_model.path / "test.cfg")]
    assert main(["export", *flags, "--checkpoint", str(checkpoint), "--out", model]) == 0
    source, chosen, rounded = str(clip_folder / "one.y4m"), tmp_path / "chosen.lcp", tmp_path / "rounded.lcp"
    rest = ["--model", model, "--frames", "2"]
    capsys.readouterr()
    assert main(["encode", source, str(chosen), *rest]) == 0
    assert capsys.readouterr().out.rstrip().endswith(", rdoq 0.1")
    assert main(["encode", source, str(rounded), *rest, "--rdoq", "0"]) == 0
    assert "rdoq" not in capsys.readouterr().out
    assert chosen.stat().st_size < rounded.stat().st_size
    assert main(["decode", str(chosen), str(tmp_path / "chosen.y4m")]) == 0
