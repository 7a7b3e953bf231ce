"""The table of module types that a model csv may name; ``python -m torchDVC.advance_modules`` prints it.

A type enters the table by `torchDVC.config.registry.codec_module`: in a file under ``torchDVC/modules``, in this file,
or in a folder that the environment variable ``TORCHDVC_PLUGINS`` names. ``docs/add_a_module.md`` shows how.
"""

from __future__ import annotations

from collections.abc import Mapping

from torchDVC.config.problems import Report, short_path
from torchDVC.config.registry import ModuleType, codec_module
from torchDVC.config.scan import load_class, scan
from torchDVC.util.errors import run_command

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


def main() -> None:
    """Print the table."""
    types = module_types()
    for name in sorted(types):
        print(describe(types[name]))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
