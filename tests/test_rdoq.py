"""Symbols chosen by rate and distortion: what is chosen, what it saves, and what it leaves alone."""

from __future__ import annotations

import torch
from torch import Tensor

from torchDVC.entropy.priors import GaussianPrior, GaussianTables
from torchDVC.entropy.symbol_streams import EstimatingStream, ReadingStream, WritingStream

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
