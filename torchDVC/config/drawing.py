"""Draws a model: the modules of each frame type, and the keys of the frame state as lines from who writes to who reads.

::

    P frames: emcr                 frame  refs   flow  flow_hat  …
      e  motion_estimator            ○      ●      ◆                  encoder only
      m  motion_codec      bits             ●      ○      ◆
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torchDVC.config.modes import KEPT, REFERENCES
from torchDVC.config.records import ModelConfig, Modes, ModuleSpec

READS, ENCODER_READS, OPTIONAL, WRITES, REWRITES = "●", "○", "◌", "◆", "◈"
LEGEND = (
    f"{WRITES} writes  {READS} reads  {REWRITES} reads and writes anew  {ENCODER_READS} reads in the encoder only  "
    f"{OPTIONAL} reads where it is there"
)


def draw(model: ModelConfig, setups: Sequence[Modes]) -> str:
    """The drawing of each frame type of each set-up, and a legend."""
    drawn = [(setup, frame_type) for setup in setups for frame_type in "IPB" if setup.of(frame_type)]
    blocks = ["\n".join(_of_type(model, *one)) for one in drawn]
    return "\n\n".join([*blocks, LEGEND]) + "\n"


def _of_type(model: ModelConfig, setup: Modes, frame_type: str) -> Iterator[str]:
    codes = setup.of(frame_type)
    modules = model.of_codes(codes)
    keys = _keys(modules, referring=frame_type != "I")
    ends = {key: _reach(key, modules) for key in keys}
    title = f"{frame_type} frames: {codes}"
    names = [f"  {module.code}  {module.name}" for module in modules]
    types = [_type(module) for module in modules]
    left, middle = max(map(len, (title, *names))) + 2, max(map(len, types)) + 2
    yield title.ljust(left) + " " * middle + "  ".join(keys)
    for row, module in enumerate(modules):
        marks = (_mark(key, module, ends[key], row).center(len(key)) for key in keys)
        notes = ["bits"] * module.type.codes + ["encoder only"] * module.type.encoder_only
        line = names[row].ljust(left) + types[row].ljust(middle) + "  ".join(marks)
        yield f"{line}   {', '.join(notes)}".rstrip()


def _type(module: ModuleSpec) -> str:
    """The type, and the latent codec that fills its slot, from the outermost in."""
    said = module.type.name
    latent = module.args.get("latent")
    while isinstance(latent, dict):
        said += f" · {latent.get('type', '')}"
        latent = latent.get("latent")
    return said


def _keys(modules: Sequence[ModuleSpec], referring: bool) -> list[str]:
    """In the order in which they are read or written first, without what some module could use and nothing gives."""
    found: dict[str, None] = {}
    for module in modules:
        given = (key for key in module.type.optional if referring and (key == REFERENCES or key.startswith(KEPT)))
        usable = [*(key for key in module.type.optional if key in found), *given]
        found |= dict.fromkeys((*module.type.encoder_reads, *module.type.reads, *usable, *module.type.writes))
    return list(found)


def _reach(key: str, modules: Sequence[ModuleSpec]) -> tuple[int, int]:
    """From which row to which a key's line goes; one that is given from outside comes from the top."""
    touching = [row for row, module in enumerate(modules) if key in (*module.type.uses, *module.type.writes)]
    given = key not in modules[touching[0]].type.writes
    return -1 if given else touching[0], touching[-1]


def _mark(key: str, module: ModuleSpec, reach: tuple[int, int], row: int) -> str:
    declared = module.type
    if key in declared.writes:
        return REWRITES if key in declared.uses else WRITES
    for keys, mark in ((declared.reads, READS), (declared.encoder_reads, ENCODER_READS), (declared.optional, OPTIONAL)):
        if key in keys:
            return mark
    return "│" if reach[0] < row < reach[1] else " "
