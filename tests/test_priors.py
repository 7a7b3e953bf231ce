"""Probability models against compressai's, and the integer tables against the densities they were made from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from hypothesis import given, settings
from hypothesis import strategies as st

from torchDVC.entropy.priors import FactorizedPrior, GaussianPrior, GaussianTables
from torchDVC.entropy.streams import TrainingStream
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.entropy.tables import GAUSSIAN_SCALES, TOTAL, Tables


@pytest.fixture(scope="module")
def pair() -> tuple[FactorizedPrior, EntropyBottleneck]:
    """Our density and compressai's, of the same, learned-looking parameters, with quantiles that fit them."""
    torch.manual_seed(0)
    own = FactorizedPrior(6)
    reference = EntropyBottleneck(6)
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            if name != "quantiles":
                parameter.add_(torch.randn_like(parameter) * 0.3)
    optimizer = torch.optim.Adam([own.quantiles], 0.3)
    for _ in range(1500):
        optimizer.zero_grad()
        own.aux_loss().backward()
        optimizer.step()
    plurals = {"_matrix": "matrices.", "_bias": "biases.", "_factor": "factors."}
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            kind = name.rstrip("0123456789")
            reference.get_parameter(name.replace(kind, plurals.get(kind, kind))).copy_(parameter)
    return own.eval(), reference.eval()


def masses(prior: FactorizedPrior) -> list[np.ndarray]:
    """Probability of each symbol of each row of a prior's tables, escape last."""
    tables = prior.tables
    return np.split(tables.frequencies / TOTAL, np.cumsum(tables.size)[:-1])


def test_likelihoods_equal_compressais(pair: tuple[FactorizedPrior, EntropyBottleneck]) -> None:
    own, reference = pair
    y = torch.randn(2, 6, 3, 4) * 8
    prior = own.over(2, 3, 4)
    noise_free = reference._likelihood(y.transpose(0, 1).reshape(6, 1, -1))
    noise_free = noise_free[0] if isinstance(noise_free, tuple) else noise_free
    expected = noise_free.reshape(6, 2, 3, 4).transpose(0, 1).clamp(min=1e-9)
    torch.testing.assert_close(prior.likelihood(y - prior.mean), expected, rtol=1e-4, atol=1e-7)


def test_the_quantile_loss_equals_compressais(pair: tuple[FactorizedPrior, EntropyBottleneck]) -> None:
    own, reference = pair
    torch.testing.assert_close(own.aux_loss(), reference.loss())


def test_only_quantiles_learn_from_the_quantile_loss_and_only_the_rest_from_the_rate() -> None:
    own = FactorizedPrior(3)
    own.aux_loss().backward()
    assert {name for name, p in own.named_parameters() if p.grad is not None} == {"quantiles"}
    own.zero_grad(set_to_none=True)
    own.over(1, 2, 2).likelihood(torch.randn(1, 3, 2, 2)).log().sum().backward()
    assert {name for name, p in own.named_parameters() if p.grad is None} == {"quantiles"}


def test_the_density_sums_to_one(pair: tuple[FactorizedPrior, EntropyBottleneck]) -> None:
    symbols = torch.arange(-400.0, 401).repeat(6, 1)[:, None]
    torch.testing.assert_close(pair[0].probability(symbols).sum(-1), torch.ones(6, 1), rtol=1e-4, atol=1e-4)


def test_tables_are_the_density_of_each_symbol(pair: tuple[FactorizedPrior, EntropyBottleneck]) -> None:
    own, _ = pair
    medians = own.medians.flatten()
    for channel, mass in enumerate(masses(own)):
        offset = int(own.tables.offset[channel])
        symbols = torch.arange(offset, offset + len(mass) - 1)
        points = torch.zeros(6, 1, len(symbols))
        points[channel, 0] = symbols + medians[channel]
        expected = own.probability(points)[channel, 0].detach().numpy()
        assert np.abs(mass[:-1] - expected).max() < 3 / TOTAL
        assert mass[-1] < 0.01


def same(a: Tables, b: Tables) -> bool:
    return all(np.array_equal(x, b.to_arrays()[name]) for name, x in a.to_arrays().items())


def test_tables_follow_the_weights_but_not_when_they_are_given() -> None:
    prior = FactorizedPrior(2)
    before = prior.tables
    assert prior.tables is before
    with torch.no_grad():
        prior.get_parameter("_bias0").add_(1)
    after = prior.tables
    assert not same(after, before)
    prior.fix(prior.integers())
    with torch.no_grad():
        prior.get_parameter("_bias0").add_(1)
    assert same(prior.tables, after)


@pytest.mark.parametrize("way", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_tables_follow_the_weights_whatever_the_optimizer(
    kind: Callable[..., torch.optim.Optimizer], way: dict[str, bool]
) -> None:
    prior, fresh = FactorizedPrior(2), FactorizedPrior(2)
    optimizer = kind(prior.parameters(), lr=0.01, **way)
    for _ in range(3):
        before = prior.tables
        prior.probability(torch.randn(2, 1, 50)).log().mean().neg().add(prior.aux_loss()).backward()
        optimizer.step()
        fresh.load_state_dict(prior.state_dict())
        assert same(prior.tables, fresh.build_tables()) and not same(prior.tables, before)


def test_tables_are_the_same_when_built_under_autocast() -> None:
    torch.manual_seed(0)
    one = FactorizedPrior(4)
    two = FactorizedPrior(4)
    two.load_state_dict(one.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = one.tables
    assert same(under, two.tables)


def test_medians_are_sixteenths_near_the_medians() -> None:
    prior = FactorizedPrior(3)
    with torch.no_grad():
        prior.quantiles[:, 0, 1] = torch.tensor([0.03, -1.47, 7.2])
    assert prior.medians.flatten().tolist() == [0.0, -1.5, 7.1875]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 63), st.floats(-30, 30, width=32))
def test_gaussian_likelihoods_equal_compressais(row: int, v: float) -> None:
    prior = gaussian_prior(torch.tensor([float(row)]), torch.zeros(1))
    reference = GaussianConditional(None, scale_bound=0.01)
    expected = reference._likelihood(torch.tensor([v]), torch.tensor([GAUSSIAN_SCALES[row]])).clamp(min=1e-9)
    torch.testing.assert_close(prior.likelihood(torch.tensor([v])), expected, rtol=1e-3, atol=1e-7)


def gaussian_prior(index: torch.Tensor, mean: torch.Tensor) -> GaussianPrior:
    return GaussianPrior(mean, index, GaussianTables().tables)


def test_gaussian_tables_cost_what_the_likelihood_says() -> None:
    index = torch.arange(64.0).repeat_interleave(9).view(1, 64, 3, 3)
    symbols = (torch.arange(9.0).view(1, 1, 3, 3) - 4) * gaussian_prior(index, torch.zeros(1)).scale / 2
    prior = gaussian_prior(index, torch.zeros_like(index))
    symbols = symbols.round()
    ideal = -torch.log2(prior.likelihood(symbols))
    found = prior.tables.bits(symbols, prior.indexes)
    common = ideal < 10
    torch.testing.assert_close(found[common], ideal[common], rtol=0.02, atol=0.02)


def test_the_estimate_is_the_mean_of_the_training_rate() -> None:
    """Noise in place of rounding changes the rate of a wide density hardly."""
    torch.manual_seed(0)
    index, mean = torch.full((4, 8, 16, 16), 40.0), torch.randn(4, 8, 16, 16)
    prior = gaussian_prior(index, mean)
    y = mean + prior.scale * torch.randn_like(mean)
    rates = {}
    for kind in (TrainingStream, EstimatingStream):
        stream = kind(4)
        with stream.labelled("x"):
            decoded = stream.code(y, prior)
        assert torch.equal((decoded - mean).round(), (y - mean).round())
        rates[kind] = stream.rates()["x"].sum().item()
    assert rates[TrainingStream] == pytest.approx(rates[EstimatingStream], rel=0.01)


def test_training_rounds_latents_and_adds_noise_to_hyper_latents() -> None:
    mean, index, y = torch.randn(1, 4, 8, 8), torch.full((1, 4, 8, 8), 30.0), torch.randn(1, 4, 8, 8) * 5
    latent = TrainingStream(1).code(y, gaussian_prior(index, mean))
    assert torch.equal(latent, (y - mean).round() + mean)
    hyper = TrainingStream(1).code(y, FactorizedPrior(4).over(1, 8, 8))
    assert 0.3 < (hyper - y).abs().max() <= 0.5 + 1e-5


def test_the_estimate_is_what_the_tables_say() -> None:
    tables = Tables.from_pmf([np.array([0.5, 0.25, 0.25])], [-1])
    prior = GaussianPrior(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4), tables)
    stream = EstimatingStream(1)
    with stream.labelled("x"):
        stream.code(torch.tensor([-1.2, 0.1, 1.0, -0.6]).view(1, 1, 1, 4), prior)
    assert stream.rates()["x"].item() == pytest.approx(1 + 2 + 2 + 1, abs=1e-3)
