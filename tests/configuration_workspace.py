"""A small model and its files, in a folder of their own: what the tests of configuration start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from torchDVC.config import load_model_config, load_run
from torchDVC.util.errors import ConfigError

MODULES = """
from __future__ import annotations
from torchDVC.config.registry import codec_module

@codec_module(encoder_reads="frame", writes="recon", codes=True)
class ToyIntra:
    def __init__(self, width: int, levels: tuple[int, ...] = (1, 2), gain: float | None = None): ...

@codec_module(reads="refs", encoder_reads="frame", writes="flow:flow flow_warped:picture", encoder_only=True)
class ToyEstimator:
    def __init__(self, pyramid: int = 4, mode: Literal["fast", "slow"] = "fast"): ...

@codec_module(encoder_reads="flow", writes="flow_hat:flow warped:picture", codes=True)
class ToyMotion:
    def __init__(self): ...

@codec_module(reads="refs flow_hat", writes="mc:picture")
class ToyCompensator:
    def __init__(self, options: dict[str, int] = {}, names: list[str] = [], on: bool = True, other: Any = None): ...

@codec_module(reads="mc", encoder_reads="frame", writes="recon", codes=True)
class ToyResidual:
    def __init__(self): ...

@codec_module(reads="flow", writes="peeked")
class ToyPeeker:
    def __init__(self): ...

@codec_module(reads="ref_flow_hat ref_flow", writes="guessed")
class ToyMemory:
    def __init__(self): ...

@codec_module(reads="refs ref_mc", writes="warped:picture")
class ToyRecaller:
    def __init__(self): ...

@codec_module(optional="ref_mc", writes="warped:picture")
class ToyWilling:
    def __init__(self): ...

@codec_module(encoder_reads="frame", writes="flow_hat:flow", encoder_only=True)
class ToyMeddler:
    def __init__(self): ...

@codec_module(reads="frame", writes="copied")
class ToyCheater:
    def __init__(self): ...
"""
CSV = """\
code,name,type,args,weights
i,intra_codec,ToyIntra,intra.json,        # the I frames
e,motion_estimator,ToyEstimator,,
m,motion_codec,ToyMotion
c,motion_compensator,ToyCompensator,,
r,residual_codec,ToyResidual,,
"""
JSON = '{\n  "width": 8,\n  "levels": [3, 4],\n  "gain": 1\n}\n'
TRAIN = """\
[header]
lr = 1e-4
lr.motion_estimator = 1e-5   # slower
optimizer = adamw
batch_size = 3

[process: motion]
epochs = 5
pmode = e m
pairs = step123
loss.R = motion_rate
loss.D = warped_distortion/0.5*flow_warped_distortion

[process: joint]
imode = i
pmode = emcr
train = m c r
RNN = 2
pairs = 0>1 1>2
lr = 3e-5
lr.motion_codec = 2e-5
lmda = 256:2048
"""
TEST = """\
[header]
frames = all
data = UVG "my clips"
images = no

[process: low_delay]
imode = i
pmode = emcr
"""


@dataclass
class Workspace:
    """A folder with a small model, a train and a test cfg; the current folder."""

    path: Path

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def problems(self, kind: str = "train") -> list[str]:
        """All problems of the model and of the train or test cfg."""
        with pytest.raises(ConfigError) as caught:
            load_run("model.csv", f"{kind}.cfg", kind)  # type: ignore[call-overload]
        return list(caught.value.problems)

    def csv_problems(self, *lines: str) -> list[str]:
        """Problems of a model csv with these lines below its header (which is line 1)."""
        self.write("model.csv", "code,name,type,args,weights\n" + "\n".join(lines))
        with pytest.raises(ConfigError) as caught:
            load_model_config("model.csv")
        return list(caught.value.problems)

    def stage_problems(self, *lines: str) -> list[str]:
        """Problems of a train cfg that is one stage of these lines, from line 2."""
        self.write("train.cfg", "[process: a]\n" + "\n".join(lines))
        return self.problems()


def make_workspace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Write the model, its modules and its files below ``folder``, and go there."""
    for name in ("plugins", "work"):
        (folder / name).mkdir()
    (folder / "plugins" / "toys.py").write_text(MODULES)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(folder / "plugins"))
    monkeypatch.chdir(folder / "work")
    workspace = Workspace(folder / "work")
    for name, text in (("model.csv", CSV), ("intra.json", JSON), ("train.cfg", TRAIN), ("test.cfg", TEST)):
        workspace.write(name, text)
    return workspace
