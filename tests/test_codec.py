"""Coding single frames and short clips: the same code path for every stream, type and size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.small_model import SmallModel, make_small_model
from torchDVC.coding_structure import CodedFrame, CodingStructure, FrameInfo, parse_pairs
from torchDVC.config import Modes, load_model_config
from torchDVC.entropy.streams import Stream
from torchDVC.entropy.symbol_streams import DryStream, EstimatingStream
from torchDVC.models.buffer import Reference
from torchDVC.models.codec import Codec, CodedPicture
from torchDVC.models.sequence import code_clip, code_sequence
from torchDVC.util.errors import ModuleError

MODES = Modes("all", "i", "emcr", "emcr")
FRAMES = {"I": CodedFrame(0), "P": CodedFrame(1, (0,)), "B": CodedFrame(1, (0, 2))}
REFERENCES = list(FRAMES)
SIZES = st.tuples(st.integers(1, 130), st.integers(1, 130))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return lively(make_small_model(tmp_path_factory.mktemp("model"), Path("none")).codec())


def lively(codec: Codec) -> Codec:
    """With larger weights than a network starts from, so that latents are not all zero."""
    with torch.no_grad():
        for name, parameter in codec.named_parameters():
            if name.endswith(("g_a.6.weight", "h_a.4.weight", "tail.weight")):
                parameter.copy_(torch.randn_like(parameter))
    return codec


def references_of(kind: str, size: tuple[int, int], batch: int = 1) -> list[Reference]:
    return [Reference(FrameInfo(index), torch.rand(batch, 3, *size)) for index in FRAMES[kind].references]


def code(codec: Codec, kind: str, stream: Stream, references: list[Reference], frame: Tensor) -> dict[str, Tensor]:
    return code_picture(codec, FRAMES[kind], stream, references, frame).state


def code_picture(
    codec: Codec, frame: CodedFrame, stream: Stream, references: list[Reference], source: Tensor
) -> CodedPicture:
    with torch.no_grad():
        return codec.code_frame(frame, MODES, (source.shape[2], source.shape[3]), stream, references, source=source)


@pytest.mark.parametrize("kind", REFERENCES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=SIZES | st.just((1, 1)))
def test_every_picture_has_the_size_of_the_source(codec: Codec, kind: str, size: tuple[int, int]) -> None:
    stream = EstimatingStream(2)
    state = code(codec, kind, stream, references_of(kind, size, 2), torch.rand(2, 3, *size))
    for key in {"recon", "mc", "warped"} & state.keys():
        assert state[key].shape == (2, 3, *size)
    assert "recon" in state and torch.isfinite(state["recon"]).all()
    labels = {"intra"} if kind == "I" else {"motion", "residual"}
    assert stream.rates().keys() == labels
    assert all((bits > 0).all() for bits in stream.rates().values())


@pytest.mark.parametrize("kind", REFERENCES)
def test_a_reader_runs_without_a_source_and_without_encoder_only_modules(
    codec: Codec, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*_: object) -> None:
        raise AssertionError("an encoder-only part ran in a decoder")

    monkeypatch.setattr(codec.get_submodule("motion_estimator"), "forward", must_not_run)
    for module in codec.modules():
        for name in ("g_a", "h_a"):
            if hasattr(module, name):
                monkeypatch.setattr(getattr(module, name), "forward", must_not_run)
    with torch.no_grad():
        state = codec.code_frame(FRAMES[kind], MODES, (70, 40), DryStream(1), references_of(kind, (70, 40))).state
    assert state["recon"].shape == (1, 3, 70, 40)
    assert not {"frame", "flow"} & state.keys()


class Recorded(EstimatingStream):
    """Keeps what it coded."""

    def __init__(self, batch: int = 1) -> None:
        super().__init__(batch)
        self.decoded: list[Tensor] = []

    def code(self, y: Tensor | None, prior: object) -> Tensor:
        self.decoded.append(super().code(y, prior))  # type: ignore[arg-type]
        return self.decoded[-1]


class Replayed(DryStream):
    """Reads what another stream coded."""

    def __init__(self, decoded: list[Tensor]) -> None:
        super().__init__(1)
        self.decoded = iter(decoded)

    def code(self, y: Tensor | None, prior: object) -> Tensor:
        assert y is None
        return next(self.decoded)


@pytest.mark.parametrize("kind", REFERENCES)
def test_nothing_after_the_symbols_needs_the_source(codec: Codec, kind: str) -> None:
    references, frame = references_of(kind, (33, 65)), torch.rand(1, 3, 33, 65)
    recorded = Recorded()
    written = code(codec, kind, recorded, references, frame)
    assert any(latent.any() for latent in recorded.decoded)
    with torch.no_grad():
        read = codec.code_frame(FRAMES[kind], MODES, (33, 65), Replayed(recorded.decoded), references).state
    assert torch.equal(written["recon"], read["recon"])


@pytest.mark.parametrize("kind", REFERENCES)
def test_pictures_of_a_batch_do_not_touch_each_other(codec: Codec, kind: str) -> None:
    references, frame = references_of(kind, (40, 50), 3), torch.rand(3, 3, 40, 50)
    together = EstimatingStream(3)
    of_batch = code(codec, kind, together, references, frame)
    for i in range(3):
        alone = EstimatingStream(1)
        own = [Reference(r.info, r.picture[i : i + 1]) for r in references]
        state = code(codec, kind, alone, own, frame[i : i + 1])
        torch.testing.assert_close(state["recon"], of_batch["recon"][i : i + 1], rtol=0, atol=1e-4)
        for label, bits in alone.rates().items():
            torch.testing.assert_close(bits, together.rates()[label][i : i + 1], rtol=1e-3, atol=1e-2)


def test_rates_are_the_sum_of_their_parts_and_of_their_maps(codec: Codec) -> None:
    stream = EstimatingStream(1, keep_maps=True)
    code(codec, "B", stream, references_of("B", (70, 40)), torch.rand(1, 3, 70, 40))
    assert stream.maps is not None
    for label, bits in stream.rates().items():
        parts = stream.bits[label, "latent"] + stream.bits[label, "hyper"]
        assert bits.item() == pytest.approx(parts.item()) and bits.item() > 0
        assert sum(m.sum().item() for m in stream.maps[label]) == pytest.approx(bits.item(), rel=1e-5)


def test_padding_repeats_the_border_and_leaves_no_trace(codec: Codec) -> None:
    frame = torch.rand(1, 3, 64, 128)
    padded = torch.nn.functional.pad(frame[..., :50, :100], (0, 28, 0, 14), mode="replicate")
    small = code(codec, "I", EstimatingStream(1), [], frame[..., :50, :100])
    whole = code(codec, "I", EstimatingStream(1), [], padded)
    assert torch.equal(small["recon"], whole["recon"][..., :50, :100])


@pytest.mark.parametrize(("rnn", "reaches"), [(0, False), (1, False), (2, True)])
def test_gradients_reach_earlier_frames_only_through_time(small_model: SmallModel, rnn: int, reaches: bool) -> None:
    codec = lively(small_model.codec())
    frames = [CodedFrame(0), *parse_pairs("0>1 1>2")]
    coded = list(code_clip(codec, torch.rand(1, 3, 3, 64, 64), frames, MODES, rnn=rnn))
    coded[2].state["recon"].sum().backward()
    intra = [p.grad for n, p in codec.named_parameters() if n.startswith("intra_codec.g_s")]
    assert all((g is not None and bool(g.abs().sum() > 0)) == reaches for g in intra)


def test_references_are_sources_or_reconstructions(small_model: SmallModel) -> None:
    codec, clip = lively(small_model.codec()), torch.rand(1, 2, 3, 64, 64)
    seen: list[Tensor] = []
    hook = codec.get_submodule("motion_codec").register_forward_pre_hook(lambda _, args: seen.append(args[0]["refs"]))
    for rnn in (0, 1):
        coded = list(code_clip(codec, clip, [FRAMES["I"], FRAMES["P"]], MODES, rnn=rnn, new_stream=EstimatingStream))
    hook.remove()
    assert torch.equal(seen[0], clip[:, :1])
    assert torch.equal(seen[1][:, 0], coded[0].state["recon"].clamp(0, 1))
    assert not seen[1].requires_grad


def test_frames_without_a_mode_are_left_out(small_model: SmallModel) -> None:
    frames = [CodedFrame(0), *parse_pairs("0>2 0>1<2")]
    coded = list(code_clip(small_model.codec(), torch.rand(1, 3, 3, 64, 64), frames, Modes("p", pmode="emcr")))
    assert [str(picture.frame) for picture in coded] == ["0>2"]


@pytest.mark.parametrize("structure", [CodingStructure(4), CodingStructure(8, 4), CodingStructure(0, 2)])
def test_a_sequence_is_coded_in_order_from_its_own_reconstructions(codec: Codec, structure: CodingStructure) -> None:
    clip = torch.rand(7, 1, 3, 24, 40)
    pictures = list(code_sequence(codec, MODES, structure, (24, 40), lambda frame: EstimatingStream(), sources=clip))
    assert [picture.frame for picture in pictures] == structure.order(7)
    recon = {picture.frame.index: picture.state["recon"].clamp(0, 1) for picture in pictures}
    for picture in pictures:
        assert picture.source is not None and torch.equal(picture.source, clip[picture.frame.index])
        references = [Reference(FrameInfo(r), recon[r]) for r in picture.frame.references]
        again = code_picture(codec, picture.frame, EstimatingStream(), references, picture.source)
        assert torch.equal(again.state["recon"], picture.state["recon"])


MEMORY = '''
from __future__ import annotations
import torch
from torch import nn
from torchDVC.config.registry import codec_module

@codec_module(optional="refs ref_note", encoder_reads="frame", writes="recon note", codes=True)
class NoteTaker(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, state, stream):
        rows, columns = state.height // 16, state.width // 16
        note = torch.zeros(state.batch, 1, rows, columns)
        if "ref_note" in state:
            assert state["ref_note"].shape == (state.batch, state["refs"].shape[1], 1, rows, columns)
            note = state["ref_note"].sum(1) + 1
        return {"recon": torch.zeros(state.batch, 3, state.height, state.width), "note": note}

@codec_module(reads="ref_note", writes="unused")
class NoteReader(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, state, stream): return {"unused": state["ref_note"]}
'''


@pytest.mark.parametrize("size", [(4, 4), (1, 1), (64, 64), (70, 20)])
def test_what_modules_keep_reaches_later_frames_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """Also where a reduced feature happens to have the picture's own size: 4x4 is 64x64 padded, at a sixteenth."""
    (tmp_path / "memory.py").write_text(MEMORY)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path))
    (tmp_path / "m.csv").write_text("code,name,type,args,weights\nn,note,NoteTaker,,\nr,reader,NoteReader,,\n")
    codec = Codec(load_model_config(str(tmp_path / "m.csv")))
    modes, structure = Modes("notes", "n", "nr", "nr"), CodingStructure(0, 2)
    sources = torch.rand(5, 1, 3, *size)
    pictures = code_sequence(codec, modes, structure, size, lambda frame: EstimatingStream(), sources=sources)
    notes = {picture.frame.index: picture.kept["note"].unique().tolist() for picture in pictures}
    assert notes == {0: [0.0], 2: [1.0], 1: [2.0], 4: [2.0], 3: [4.0]}


WITNESS = '''
from __future__ import annotations
import torch
from torch import nn
from torchDVC.config.registry import codec_module

def grey(state): return torch.full((state.batch, 3, state.height, state.width), 0.5)

@codec_module(optional="refs ref_mark", encoder_reads="frame", writes="recon other:picture")
class Witness(nn.Module):
    """Notes what it is told."""
    def __init__(self):
        super().__init__()
        self.seen = []
    def forward(self, state, stream):
        marks = state["ref_mark"].flatten().tolist() if "ref_mark" in state else []
        self.seen.append((state.info, state.has.get("ref_mark"), marks))
        return {"recon": grey(state), "other": grey(state) + 0.25}

@codec_module(writes="mark:map")
class Marker(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, state, stream): return {"mark": torch.full((state.batch, 1), state.info.index + 1.0)}

@codec_module(writes="one two")
class Forgetful(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, state, stream): return {"one": torch.zeros(1)}

@codec_module(writes="recon")
class TooSmall(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, state, stream): return {"recon": torch.zeros(state.batch, 3, 8, 8)}

@codec_module(writes="recon")
class Bare(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, state, stream): return grey(state)
'''


@pytest.fixture
def witnesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Codec:
    (tmp_path / "witness.py").write_text(WITNESS)
    monkeypatch.setenv("TORCHDVC_PLUGINS", str(tmp_path))
    lines = ["w,witness,Witness", "m,marker,Marker", "f,forgetful,Forgetful", "s,small,TooSmall", "b,bare,Bare"]
    (tmp_path / "m.csv").write_text("\n".join(["code,name,type,args,weights", *lines]) + "\n")
    return Codec(load_model_config(str(tmp_path / "m.csv")))


def test_modules_are_told_the_same_of_a_frame_in_training_and_in_coding(witnesses: Codec) -> None:
    modes = Modes("w", "w", "wm", "wm")
    witness: Any = witnesses.get_submodule("witness")
    sources = torch.rand(9, 1, 3, 8, 8)
    structure = CodingStructure(8, 4)
    list(code_sequence(witnesses, modes, structure, (8, 8), lambda frame: EstimatingStream(), sources=sources))
    coding, witness.seen = witness.seen, []
    list(code_clip(witnesses, sources.transpose(0, 1), structure.order(9), modes, rnn=1, new_stream=EstimatingStream))
    assert witness.seen == coding
    told = {info.index: (info.type, info.layer, info.since_intra, has, marks) for info, has, marks in coding}
    assert told[0] == ("I", 0, 0, None, [])
    assert told[4] == ("P", 0, 4, None, [])
    assert told[2] == ("B", 1, 2, (False, True), [0.0, 5.0])
    assert told[3] == ("B", 2, 3, (True, True), [3.0, 5.0])
    assert told[6] == ("B", 1, 6, (True, False), [5.0, 0.0])


def test_a_reset_leaves_pictures_alone(witnesses: Codec) -> None:
    modes = Modes("w", "wm", "wm", feature_reset=2)
    witness: Any = witnesses.get_submodule("witness")
    pictures = code_sequence(
        witnesses, modes, CodingStructure(0), (8, 8), lambda frame: EstimatingStream(),
        sources=torch.rand(5, 1, 3, 8, 8),
    )  # fmt: skip
    assert [picture.info.since_intra for picture in pictures] == [0, 1, 2, 3, 4]
    assert [marks for _, _, marks in witness.seen] == [[], [1.0], [], [3.0], []]


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("f", "forgetful (f): Forgetful wrote one; its declaration says one two"),
        ("s", "small (s): TooSmall wrote 'recon' of shape (1, 3, 8, 8); expected a picture, (1, 3, 64, 64)"),
        ("b", "bare (b): Bare gave Tensor; expected a dict of what it writes: recon"),
    ],
)
def test_a_module_that_breaks_its_word_is_named(witnesses: Codec, mode: str, problem: str) -> None:
    with pytest.raises(ModuleError) as caught:
        list(code_clip(witnesses, torch.rand(1, 1, 3, 8, 8), [CodedFrame(0)], Modes("x", imode=mode)))
    assert str(caught.value) == problem


def test_frames_may_have_several_references(codec: Codec) -> None:
    """The baseline's networks take any number of references."""
    clip = torch.rand(1, 5, 3, 24, 40)
    frames = [CodedFrame(0), *parse_pairs("4 0>1 1,0>2 2,1,0>3<4")]
    coded = list(code_clip(codec, clip, frames, MODES, rnn=1, new_stream=EstimatingStream))
    assert [len(picture.state["flow_hat"][0]) for picture in coded[2:]] == [1, 2, 4]
    order = CodingStructure(4, references=3).order(6)
    pictures = code_sequence(
        codec, Modes("three", "i", "emcr", references=3), CodingStructure(4, references=3), (24, 40),
        lambda frame: EstimatingStream(), sources=torch.rand(6, 1, 3, 24, 40),
    )  # fmt: skip
    assert [picture.frame for picture in pictures] == order
    assert [frame.references for frame in order] == [(), (0,), (1, 0), (2, 1, 0), (), (4,)]
