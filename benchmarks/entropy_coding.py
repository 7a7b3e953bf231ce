"""How fast symbols are entropy-coded, and in how many bytes: torchDVC, compressai, constriction, on one thread.

All coders take the same symbols, drawn from zero-mean Gaussians whose standard deviations (rows of the Gaussian tables)
vary from symbol to symbol, in one run and interleaved, so that the ratios hold on any machine. "over ideal" is against
``-log2`` of the true probabilities. compressai is called as its users call it (tensors in, bytes out). constriction
gets categorical models beforehand and codes the symbols grouped by model, its fastest way from Python.

    python benchmarks/entropy_coding.py
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.values import number, whole
from torchDVC.util.errors import run_command


@dataclass(frozen=True)
class Way:
    """A coder: its name, and functions that encode and decode (given what the encoder returned)."""

    name: str
    encode: Callable[[], Any]
    decode: Callable[[Any], np.ndarray]
    size: Callable[[Any], int]


def probabilities(symbols: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Mass of the unit bins round zero-mean Gaussians, accurate in the tails."""
    z = torch.from_numpy((np.abs(symbols) - 0.5) / scales), torch.from_numpy((np.abs(symbols) + 0.5) / scales)
    return (torch.special.ndtr(-z[0]) - torch.special.ndtr(-z[1])).numpy()


def draw(count: int, centre: float, table: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Symbols, rows and ideal bits; standard deviations of the table, spread log-normally round ``centre``."""
    rng = np.random.default_rng(seed)
    scales = centre * np.exp(0.6 * rng.standard_normal(count))
    step = math.log(table[1] / table[0])
    rows = np.clip(np.rint(np.log(scales / table[0]) / step), 0, len(table) - 1).astype(np.int32)
    symbols = np.rint(rng.standard_normal(count) * table[rows]).astype(np.int32)
    return symbols, rows, float(-np.log2(probabilities(symbols, table[rows])).sum())


def centre_for(bits: float, table: np.ndarray) -> float:
    """The ``centre`` of `draw` that gives so many bits a symbol."""
    low, high = 0.02, 200.0
    for _ in range(30):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if draw(20_000, middle, table)[2] < 20_000 * bits else (low, middle)
    return low


def ours(symbols: np.ndarray, rows: np.ndarray) -> Way:
    from torchDVC.entropy.coder import Decoder, Encoder
    from torchDVC.entropy.tables import gaussian_tables

    tables = gaussian_tables()

    def encode() -> bytes:
        encoder = Encoder()
        encoder.put(symbols, rows, tables)
        return encoder.finish()

    def decode(data: bytes) -> np.ndarray:
        decoder = Decoder(data)
        decoded = decoder.get(rows, tables)
        decoder.finish()
        return decoded

    return Way("torchDVC", encode, decode, len)


def compressai(symbols: np.ndarray, rows: np.ndarray, table: np.ndarray) -> Way:
    from compressai.entropy_models import GaussianConditional

    model = GaussianConditional(None)
    model.update_scale_table(torch.from_numpy(table).float())
    latent = torch.from_numpy(symbols).float().reshape(1, 1, 1, -1)
    indexes = torch.from_numpy(rows).reshape(1, 1, 1, -1)
    return Way(
        "compressai",
        lambda: model.compress(latent, indexes),
        lambda strings: model.decompress(strings, indexes).numpy().ravel(),
        lambda strings: sum(map(len, strings)),
    )


def constriction(symbols: np.ndarray, rows: np.ndarray, table: np.ndarray) -> Way:
    from benchmarks.packages import needed

    library = needed("constriction")
    coder_type, model_type = library.stream.stack.AnsCoder, library.stream.model.Categorical
    half = [math.ceil(8 * scale) + 8 for scale in table]
    densities = [probabilities(np.arange(-k, k + 1), scale) for k, scale in zip(half, table, strict=True)]
    models = [model_type(density, lazy=False, perfect=False) for density in densities]
    reach = np.array(half, dtype=np.int32)

    def groups() -> list[np.ndarray]:
        order = np.argsort(rows.astype(np.uint8), kind="stable")
        return np.split(order, np.cumsum(np.bincount(rows, minlength=len(table)))[:-1])

    def encode() -> np.ndarray:
        coder = coder_type()
        for k, model, group in zip(reach[::-1], reversed(models), reversed(groups()), strict=True):
            coder.encode_reverse(symbols[group] + k, model)
        return coder.get_compressed()

    def decode(words: np.ndarray) -> np.ndarray:
        coder, decoded = coder_type(words), np.empty_like(symbols)
        for k, model, group in zip(reach, models, groups(), strict=True):
            decoded[group] = coder.decode(model, len(group)) - k
        return decoded

    return Way("constriction", encode, decode, lambda words: words.nbytes)


def measure(ways: list[Way], symbols: np.ndarray, rounds: int) -> dict[str, tuple[int, float, float]]:
    """Bytes, and millions of symbols per CPU second to encode and to decode: the best of several interleaved rounds."""
    sizes, best = {}, {way.name: [math.inf, math.inf] for way in ways}
    for _ in range(rounds):
        for way in ways:
            begin = time.process_time()
            data = way.encode()
            middle = time.process_time()
            decoded = way.decode(data)
            end = time.process_time()
            if not np.array_equal(decoded, symbols):
                raise AssertionError(f"{way.name} did not decode what it encoded")
            sizes[way.name] = way.size(data)
            best[way.name] = [min(best[way.name][0], middle - begin), min(best[way.name][1], end - middle)]
    rate = len(symbols) / 1e6
    return {name: (sizes[name], rate / encode, rate / decode) for name, (encode, decode) in best.items()}


def report(bits: float, count: int, rounds: int) -> None:
    """Print the table of one bit rate."""
    from torchDVC.entropy.tables import GAUSSIAN_SCALES

    table = np.array(GAUSSIAN_SCALES)
    symbols, rows, ideal = draw(count, centre_for(bits, table), table)
    ways = [compressai(symbols, rows, table), constriction(symbols, rows, table), ours(symbols, rows)]
    results = measure(ways, symbols, rounds)
    _, encode_base, decode_base = results["compressai"]
    print(f"\n{count} symbols of {ideal / count:.3f} bits; millions a second, and times compressai's")
    print(f"{'coder':14}{'over ideal':>12}{'encode':>10}{'':8}{'decode':>10}")
    for name, (size, encode, decode) in results.items():
        print(
            f"{name:14}{8 * size / ideal - 1:>12.3%}{encode:>10.0f}{encode / encode_base:>7.1f}x"
            f"{decode:>10.0f}{decode / decode_base:>7.1f}x"
        )


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    symbols: int = flag(whole(1), "how many each coder codes", metavar="N", default=2_000_000)
    rounds: int = flag(whole(1), "measured one after the other", metavar="N", default=10)
    bits: tuple[float, ...] = flag(
        number(above=True), "bits a symbol", many=True, metavar="B", default=(0.05, 0.5, 2.0, 4.0)
    )


def main() -> int:
    """The command line; returns the exit code."""
    usage = "python benchmarks/entropy_coding.py [flags]"
    return run_command(lambda: compare(parse_flags(Options, None, usage=usage, description=__doc__ or "")))


def compare(options: Options) -> None:
    """Measure and print."""
    from benchmarks.packages import needed

    for package in ("compressai", "constriction"):
        needed(package)
    torch.set_num_threads(1)
    begin = time.process_time()
    ours(np.zeros(1, np.int32), np.zeros(1, np.int32)).encode()
    print(f"first use of the coder in this process: {time.process_time() - begin:.2f} CPU seconds")
    for bits in options.bits:
        report(bits, options.symbols, options.rounds)


if __name__ == "__main__":
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    sys.exit(main())
