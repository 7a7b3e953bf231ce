"""The table of module types that a model csv may name; ``python -m torchDVC.advance_modules`` prints it.

``--draw contextual.csv`` draws a model: its modules, and what each reads and writes.

A type enters the table by `torchDVC.config.registry.codec_module`: in a file under ``torchDVC/modules``, in this file,
or in a folder that the environment variable ``TORCHDVC_PLUGINS`` names. ``docs/add_a_module.md`` shows how.
"""

from __future__ import annotations

if __name__ == "__main__":
    from torchDVC.util.start import program

    program("torchDVC.advance_modules")

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torchDVC.config import load_model_config, load_run, load_test_config
from torchDVC.config.drawing import draw
from torchDVC.config.flags import flag, parse_flags
from torchDVC.config.problems import CONFIGS, Report, short_path
from torchDVC.config.records import ModelConfig, Modes
from torchDVC.config.registry import ModuleType, codec_module
from torchDVC.config.scan import load_class, scan
from torchDVC.config.values import words
from torchDVC.util.errors import ConfigError, run_command

__all__ = ["codec_module", "load_class", "main", "module_types"]


def module_types() -> Mapping[str, ModuleType]:
    """Every module type by name. Raises `ConfigError` with all bad or double declarations."""
    report = Report()
    types = scan(report)
    report.raise_if_any()
    return types


def describe(module_type: ModuleType) -> str:
    """A few lines about a type: its arguments, what it reads and writes, and where it stands."""
    arguments = ", ".join(map(str, module_type.parameters))
    marks = " (encoder only)" * module_type.encoder_only + " (codes)" * module_type.codes
    reads = " ".join([*module_type.reads, *(f"{key} (encoder)" for key in module_type.encoder_reads)])
    return (
        f"{module_type.name}({arguments}){marks}\n"
        f"    reads {reads or 'nothing'}; writes {' '.join(module_type.writes)}; "
        f"{short_path(module_type.file)}:{module_type.line}"
    )


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line."""

    draw: str | None = flag(
        words, "draw a model in place of the table: a csv under configs/model, or a path", metavar="CSV", default=None
    )
    run_config: str | None = flag(
        words,
        "test cfg with the mode strings to draw (default: the one under configs/test that is called like the model, "
        "else the first that fits)",
        metavar="CFG",
        default=None,
    )

    def problems(self) -> Iterator[str]:
        """What is wrong with combinations of flags."""
        if self.run_config is not None and self.draw is None:
            yield "--run_config is for --draw; expected both"


def drawing(options: Options) -> str:
    """The drawing of a model. Raises `ConfigError` with the problems of its files."""
    assert options.draw is not None
    if options.run_config is not None:
        model, test = load_run(options.draw, options.run_config, "test")
        return draw(model, test.processes)
    model = load_model_config(options.draw)
    return draw(model, _usual_setups(model))


def _usual_setups(model: ModelConfig) -> Sequence[Modes]:
    """Those of the first shipped test cfg that fits, the one that is called like the model before all."""
    folder = CONFIGS / "test"
    for cfg in sorted(folder.rglob("*.cfg"), key=lambda path: (path.stem != model.name, path)):
        with contextlib.suppress(ConfigError):
            return load_test_config(cfg, model).processes
    return [Modes("all modules", pmode="".join(module.code for module in model.modules))]


def main() -> int:
    """The command line; returns the exit code."""
    return run_command(_print)


def _print() -> None:
    """Print the table, or a drawing."""
    options = parse_flags(
        Options, sys.argv[1:], usage="python -m torchDVC.advance_modules [flags]",
        description="Lists the module types that a model csv may name.",
    )
    if options.draw is not None:
        print(drawing(options), end="")
        return
    types = module_types()
    for name in sorted(types):
        print(describe(types[name]))
