"""Reads a test cfg: ``[header]`` says what to measure and write, each ``[process: NAME]`` which modules code frames."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from torchDVC.coding_structure import MAX_REFERENCES
from torchDVC.config.cfg_values import Key, header_and_processes, read_values
from torchDVC.config.modes import mode_string
from torchDVC.config.problems import Report
from torchDVC.config.records import MODES, ModelConfig, Process, TestConfig
from torchDVC.config.stage_checks import check_process
from torchDVC.config.values import MAX_OFFSET, Unexpected, by_frame, choice, number, optional, switch, whole


def _names(text: str) -> tuple[str, ...]:
    """Names or paths separated by blanks; quotes keep one with blanks together."""
    try:
        names = tuple(shlex.split(text))
    except ValueError:
        names = ()
    if not names:
        raise Unexpected("names or paths separated by blanks")
    return names


PROCESS_KEYS = {
    **{mode: Key(mode, mode_string) for mode in MODES},
    "references": Key("references", whole(1, MAX_REFERENCES)),
    "feature_reset": Key("feature_reset", whole(0)),
    "quality_offsets": Key("quality_offsets", by_frame(whole(-MAX_OFFSET, MAX_OFFSET))),
    "rdoq": Key("rdoq", number()),
}
HEADER_KEYS = {
    "frames": Key("frames", optional(whole(1), "all")),
    "data": Key("data", _names),
    "matrix": Key("matrix", choice("bt709", "bt601")),
    "images": Key("images", switch),
    "ms_ssim": Key("ms_ssim", switch),
}


def read_test_cfg(path: Path, model: ModelConfig | None, report: Report, said: Sequence[str] = ()) -> TestConfig:
    """Read a test cfg and check it against the model, where that could be read. Problems go to ``report``."""
    header, sections = header_and_processes(path, report, said)
    base = read_values(header, {**PROCESS_KEYS, **HEADER_KEYS}, report)
    processes = []
    for name, section in sections.items():
        values = read_values(section, PROCESS_KEYS, report).over(base)
        fields = {key: values.fields[key] for key in PROCESS_KEYS if key in values.fields}
        process = Process(name, **fields, where=str(section.where))
        if values.sound and model is not None:
            for key, problem in check_process(process, model):
                report.add(values.place(key), problem)
        processes.append(process)
    measured = {key.field: base.fields[key.field] for key in HEADER_KEYS.values() if key.field in base.fields}
    return TestConfig(path.stem, path, tuple(processes), **measured)
