"""Training clips: layouts, determinism, the loader's order and resuming, and bad data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tests.marked_clips import marked_clip, write_pictures
from torchDVC.dataset.pictures import write_png
from torchDVC.dataset.procedural import procedural_clip
from torchDVC.dataset.sources import FileClip, cut_list
from torchDVC.dataset.training import Cutting, TrainingClips, data_identity, training_loader, training_set
from torchDVC.dataset.video import Frame, VideoInfo, open_video, open_writer
from torchDVC.util.errors import DataError, describe_os_error


@pytest.fixture
def vimeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Vimeo-90k in its official layout, below $DATASET."""
    root = tmp_path / "data" / "vimeo_septuplet"
    for number, name in enumerate(("00001/0001", "00001/0002", "00002/0007", "00003/0001")):
        write_pictures(root / "sequences" / name, marked_clip(number, 7, 40, 30))
    (root / "sep_trainlist.txt").write_text("00001/0001\n00001/0002\n00002/0007\n")
    (root / "sep_testlist.txt").write_text("00003/0001\n")
    monkeypatch.setenv("DATASET", str(tmp_path / "data"))
    return root


def batches(clips: TrainingClips, **options: object) -> list[torch.Tensor]:
    return list(training_loader(clips, **{"batch_size": 2, "epoch": 0, "seed": 1, **options}))  # type: ignore[arg-type]


def keys(loader: DataLoader[torch.Tensor]) -> list[list[tuple[int, int]]]:
    """The (epoch, index) of the items of each batch, without loading them."""
    assert loader.batch_sampler is not None
    return list(loader.batch_sampler)


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# -- what is cut -----------------------------------------------------------------------------------------------------


def test_pieces_are_neighbouring_frames_of_one_place(marked: Path) -> None:
    clips = training_set(str(marked), frames=3, patch_size=16, seed=0)
    seen = set()
    for index in range(200):
        piece = clips[0, index].numpy().astype(int)
        assert piece.shape == (3, 3, 16, 16)
        clip_and_frame = piece[:, 0, 0, 0]
        assert np.ptp(piece[:, 0], axis=(1, 2)).max() == 0
        assert np.diff(clip_and_frame).tolist() == [1, 1]
        across, down = np.diff(piece[0, 1, 0]), np.diff(piece[0, 2, :, 0])
        assert len(set(across)) == len(set(down)) == 1
        assert (piece[:, 1:] == piece[:1, 1:]).all()
        seen.add((int(clip_and_frame[0]) // 16, int(across[0]), int(down[0])))
    assert seen == {(clip, across, down) for clip in range(4) for across in (1, -1) for down in (1, -1)}


def test_crops_reach_every_place_and_frame(marked: Path) -> None:
    clips = training_set(str(marked), frames=2, patch_size=28, seed=0)
    pieces = [clips[0, index].numpy() for index in range(400)]
    assert {int(piece[0, 0, 0, 0]) % 16 for piece in pieces} == set(range(8))
    assert {int(piece[0, 1].min()) for piece in pieces} == set(range(13))
    assert {int(piece[0, 2].min()) for piece in pieces} == set(range(3))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_static_and_reversed_shares(marked: Path, rate: float) -> None:
    static = training_set(str(marked), frames=4, patch_size=8, seed=0, static_rate=rate)
    backwards = training_set(str(marked), frames=4, patch_size=8, seed=0, reverse_rate=rate)
    still = [bool((clip[0, i][0] == clip[0, i]).all()) for clip in [static] for i in range(300)]
    turned = [int(backwards[0, i][0, 0, 0, 0]) > int(backwards[0, i][1, 0, 0, 0]) for i in range(300)]
    assert np.mean(still) == pytest.approx(rate, abs=0.08)
    assert np.mean(turned) == pytest.approx(rate, abs=0.08)


def test_steps_between_frames(marked: Path) -> None:
    clips = training_set(str(marked), frames=3, patch_size=8, seed=0, frame_distance=10)
    steps = {tuple(np.diff(clips[0, i][:, 0, 0, 0].numpy().astype(int))) for i in range(200)}
    assert steps == {(1, 1), (2, 2), (3, 3), (4, 4)}


def test_clips_that_are_too_short_are_played_forth_and_back(marked: Path) -> None:
    """Nine frames make any number of them, in steps of one frame, turning at both ends only."""
    with pytest.raises(DataError, match="no clip has 30 frames"):
        training_set(str(marked), frames=30, patch_size=8, seed=0)
    clips = training_set(str(marked), frames=30, patch_size=8, seed=0, forth_and_back=True)
    for index in range(20):
        shown = clips[0, index][:, 0, 0, 0].numpy().astype(int) % 16
        steps = np.diff(shown)
        assert set(np.abs(steps)) == {1} and {*shown} == set(range(9))
        assert {int(shown[1:-1][turn]) for turn in np.flatnonzero(np.diff(steps))} == {0, 8}
    long = training_set(str(marked), frames=9, patch_size=8, seed=0, forth_and_back=True)
    assert (np.diff(long[0, 0][:, 0, 0, 0].numpy().astype(int)) == 1).all()


def test_brightness_is_one_factor_for_a_clip(marked: Path) -> None:
    plain = training_set(str(marked), frames=3, patch_size=8, seed=0)
    bright = training_set(str(marked), frames=3, patch_size=8, seed=0, brightness=0.5)
    factors = []
    for index in range(60):
        before, after = plain[0, index].float(), bright[0, index].float()
        factor = float(after.sum() / before.sum())
        torch.testing.assert_close(after, (before * factor).clamp(0, 255), atol=1.0, rtol=0.0)
        factors.append(factor)
    assert 0.5 < min(factors) < 0.6 and 1.4 < max(factors) < 1.5


def test_one_frame_and_one_pixel(marked: Path) -> None:
    clips = training_set(str(marked), frames=1, patch_size=1, seed=0)
    assert clips[0, 0].shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "must be 1 or more"),
        ({"patch_size": 0}, "must be 1 or more"),
        ({"static_rate": 1.5}, "static_rate 1.5: must be from 0 to 1"),
    ],
)
def test_impossible_pieces(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Cutting(**{"frames": 2, "patch_size": 8, **options})  # type: ignore[arg-type]


# -- order and determinism -------------------------------------------------------------------------------------------


def test_items_depend_on_seed_epoch_and_index_only(marked: Path) -> None:
    first, second = (training_set(str(marked), frames=2, patch_size=16, seed=3) for _ in range(2))
    keys = [(epoch, index) for epoch in range(3) for index in range(9)]
    forwards = [first[key] for key in keys]
    backwards = [second[key] for key in reversed(keys)][::-1]
    assert equal(forwards, backwards)
    other_seed = training_set(str(marked), frames=2, patch_size=16, seed=4)
    assert not equal(forwards, [other_seed[key] for key in keys])
    assert not torch.equal(first[0, 1], first[1, 1])
    assert not torch.equal(first[0, 1], first[0, 1 + len(first)])


@settings(max_examples=40, deadline=None)
@given(
    items=st.integers(1, 30),
    batch=st.integers(1, 5),
    steps=st.one_of(st.none(), st.integers(1, 12)),
    start=st.integers(0, 12),
    ranks=st.integers(1, 3),
)
def test_order_of_batches(items: int, batch: int, steps: int | None, start: int, ranks: int) -> None:
    """Each pass takes every clip once, over all ranks; starting later leaves out exactly the batches before."""
    clips = TrainingClips([], Cutting(2, 8), seed=0)
    clips._clip_of = np.arange(items)

    def rank_keys(rank: int, first: int) -> list[list[tuple[int, int]]]:
        loader = training_loader(
            clips, batch_size=batch, epoch=5, seed=1, start_batch=first, steps=steps, rank=rank, world_size=ranks
        )
        assert len(loader) == len(keys(loader))
        return keys(loader)

    whole = [rank_keys(rank, 0) for rank in range(ranks)]
    assert [rank_keys(rank, start) for rank in range(ranks)] == [listed[start:] for listed in whole]
    assert {len(listed) for listed in whole} == {max(1, items // (batch * ranks)) if steps is None else steps}
    flat = [key for step in zip(*whole, strict=True) for part in step for key in part]
    assert all(epoch == 5 for epoch, _ in flat)
    assert len(set(flat)) == len(flat)
    for turn in range(len(flat) // items):
        assert sorted(index for _, index in flat[turn * items : (turn + 1) * items]) == [
            turn * items + i for i in range(items)
        ]


def test_order_changes_with_epoch_and_seed(marked: Path) -> None:
    clips = training_set(f"{marked}+procedural", frames=2, patch_size=16, seed=0, cut="24")
    loaders = [training_loader(clips, batch_size=2, epoch=e, seed=s) for e in range(3) for s in range(3)]
    orders = {tuple(index for _, index in sum(keys(loader), [])) for loader in loaders}
    assert len(orders) == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_batches(marked: Path, workers: int) -> None:
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    alone = batches(clips, steps=7)
    assert alone[0].shape == (2, 2, 3, 16, 16)
    assert alone[0].dtype == torch.uint8
    assert equal(alone, batches(clips, steps=7, num_workers=workers))
    assert equal(alone[5:], batches(clips, steps=7, num_workers=workers, start_batch=5))


def test_loading_leaves_the_global_random_state_alone(marked: Path) -> None:
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state(legacy=True)[1].copy()  # type: ignore[index]
    batches(clips, steps=3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state(legacy=True)[1])  # type: ignore[index]


def test_skipped_batches_are_not_loaded(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = training_set(str(marked), frames=2, patch_size=16, seed=0)
    loaded: list[tuple[int, int]] = []
    load = TrainingClips.__getitem__

    def counted(self: TrainingClips, key: tuple[int, int]) -> torch.Tensor:
        loaded.append(key)
        return load(self, key)

    monkeypatch.setattr(TrainingClips, "__getitem__", counted)
    batches(clips, steps=5, start_batch=3)
    assert len(loaded) == 4


# -- data sets -------------------------------------------------------------------------------------------------------


def test_vimeo_layout(vimeo: Path) -> None:
    """The training list decides, whether the data set is named or given as a folder."""
    for data in ("vimeo90k", "default", str(vimeo), "vimeo_septuplet"):
        clips = training_set(data, frames=7, patch_size=16, seed=0)
        assert len(clips) == 3
        assert sorted(int(clips[0, i][:, 0].min()) // 16 for i in range(3)) == [0, 1, 2]
    assert len(training_set("vimeo90k", frames=2, patch_size=16, seed=0)) == 3


def test_the_data_folder_may_be_named_from_home(vimeo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(vimeo.parents[1]))
    monkeypatch.setenv("DATASET", "~/data")
    assert len(training_set("default", frames=7, patch_size=16, seed=0)) == 3
    assert len(training_set("vimeo_septuplet/sequences/00003", frames=7, patch_size=16, seed=0)) == 1


def test_default_without_a_data_set_is_procedural() -> None:
    default = training_set("default", frames=2, patch_size=32, seed=0, cut="3")
    named = training_set("procedural", frames=2, patch_size=32, seed=0, cut="3")
    assert equal(batches(default, steps=4), batches(named, steps=4))


def test_procedural_pieces_are_pieces_of_the_clips() -> None:
    clips = training_set("procedural", frames=2, patch_size=32, seed=0, cut="1")
    _, _, height, width = clips.clips[0].shape
    rendered = procedural_clip(0, 7, (width, height))
    assert all(np.array_equal(clips.clips[0].frame(t), rendered[t]) for t in range(7))


def test_other_data_has_another_identity(vimeo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under the same name, and the same data the same one where it is copied to."""
    before = data_identity("default")
    assert re.fullmatch(r"vimeo90k \(3 clips, [0-9a-f]{8}\)", before)
    assert data_identity("default", cut="2").startswith("vimeo90k (2 clips, ")
    shutil.copytree(vimeo, tmp_path / "copy" / "vimeo_septuplet")
    monkeypatch.setenv("DATASET", str(tmp_path / "copy"))
    assert data_identity("default") == before
    write_png(tmp_path / "copy/vimeo_septuplet/sequences/00002/0007/im4.png", np.zeros((3, 30, 40), np.uint8))
    assert data_identity("default") != before
    monkeypatch.delenv("DATASET")
    assert data_identity("default + procedural").startswith("procedural+procedural (256 clips, ")


def test_long_clips_count_for_more(tmp_path: Path) -> None:
    write_pictures(tmp_path / "all" / "short", marked_clip(0, 5, 8, 8))
    write_pictures(tmp_path / "all" / "long", marked_clip(1, 16, 8, 8))
    clips = training_set(str(tmp_path / "all"), frames=2, patch_size=8, seed=0)
    assert len(clips) == 1 + 2


def test_every_form_of_clip(clip_folder: Path) -> None:
    clips = training_set(str(clip_folder), frames=3, patch_size=80, seed=0)
    assert [clip.shape for clip in clips.clips] == [(12, 3, 80, 96)] * 3
    for clip in clips.clips:
        expected = [frame.rgb for frame in open_video(clip.name)]
        assert all(np.array_equal(clip.frame(t), expected[t]) for t in range(12))


def test_a_single_file_and_unions(clip_folder: Path, marked: Path) -> None:
    both = training_set(f"{clip_folder / 'one.y4m'} + {marked}", frames=2, patch_size=16, seed=0)
    assert len(both.clips) == 5
    plus = write_pictures(marked.parent / "a+b", marked_clip(0, 7, 16, 16))
    assert len(training_set(str(plus), frames=2, patch_size=16, seed=0).clips) == 1


@pytest.mark.parametrize(
    ("cut", "kept"), [(None, range(10)), ("4", range(4)), ("3:7", range(3, 7)), ("8:", (8, 9)), (":2", (0, 1))]
)
def test_cut(cut: str | None, kept: range) -> None:
    assert cut_list(list(range(10)), cut) == list(kept)


@pytest.mark.parametrize("cut", ["x", "-3", "20:30", "1:2:3", "0.5"])
def test_bad_cut(cut: str) -> None:
    with pytest.raises(DataError, match=f"cut '{cut}'"):
        cut_list(list(range(10)), cut)


def test_shards(tmp_path: Path) -> None:
    """Clips in tars give the same items as any others, from several workers as from one."""
    webdataset = pytest.importorskip("webdataset")
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"train-{shard:03d}.tar"), encoder=False) as tar:
            for number in range(3):
                clip = marked_clip(3 * shard + number, 11, 40, 30)
                pictures = write_pictures(tmp_path / f"{shard}_{number}", clip, "{}.png")
                sample = {f"im{path.stem}.png": path.read_bytes() for path in pictures.iterdir()}
                tar.write({"__key__": f"0000{shard}_{number}", "json": b"{}", **sample})
    one, both = (data_identity(str(tmp_path / f"train-{shards}.tar")) for shards in ("000", "*"))
    assert "(3 clips," in one and "(6 clips," in both
    for pattern in ("train-*.tar", "train-{000..001}.tar"):
        clips = training_set(str(tmp_path / pattern), frames=3, patch_size=16, seed=0)
        assert [clip.shape for clip in clips.clips] == [(11, 3, 30, 40)] * 6
        for number, shard_clip in enumerate(clips.clips):
            expected = marked_clip(number, 11, 40, 30)
            assert all(np.array_equal(shard_clip.frame(t), expected[t]) for t in range(11))
        assert equal(batches(clips, steps=5), batches(clips, steps=5, num_workers=2))
        ranks = [batches(clips, batch_size=1, rank=rank, world_size=2, num_workers=2) for rank in range(2)]
        taken = [int(batch[0, 0, 0, 0, 0]) // 16 for of_rank in ranks for batch in of_rank]
        assert len(taken) == 6 and set(taken) == set(range(6))  # each clip once, by one rank


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_found_while_training_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    webdataset = pytest.importorskip("webdataset")
    pictures = write_pictures(tmp_path / "a", marked_clip(0, 3, 40, 30), "{}.png")
    data = {f"im{path.stem}.png": path.read_bytes() for path in sorted(pictures.iterdir())}
    with webdataset.TarWriter(str(tmp_path / "a.tar"), encoder=False) as tar:
        tar.write({"__key__": "a", **data, "im2.png": data["im2.png"][:80]})
    clips = training_set(str(tmp_path / "a.tar"), frames=3, patch_size=16, seed=0)
    with pytest.raises(DataError) as raised:
        batches(clips, steps=2, num_workers=workers)
    assert str(raised.value).startswith(f"{tmp_path / 'a.tar'}:a.im2.png: damaged")
    assert "\n" not in str(raised.value)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(FileNotFoundError) as gone:
        batches(clips, steps=2, num_workers=workers)
    assert describe_os_error(gone.value) == f"{tmp_path / 'a.tar'}: no such file or directory"


# -- bad data --------------------------------------------------------------------------------------------------------


def test_small_clips_are_left_out_with_a_count(marked: Path) -> None:
    write_pictures(marked / "tiny", marked_clip(5, 9, 10, 30))
    write_pictures(marked / "brief", marked_clip(5, 2, 40, 30))
    with pytest.warns(UserWarning, match=r"2 of 6 clips left out, without 3 frames of 16x16: .*brief has 2 frames"):
        clips = training_set(str(marked), frames=3, patch_size=16, seed=0)
    assert len(clips.clips) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training_set(str(marked), frames=1, patch_size=8, seed=0)


def test_only_small_clips_are_an_error(marked: Path) -> None:
    with pytest.raises(DataError, match=r"no clip has 2 frames of 64x64: .*clip0 has 9 frames of 40x30"):
        training_set(str(marked), frames=2, patch_size=64, seed=0)


def test_vimeo_needs_its_septuplets(vimeo: Path) -> None:
    (vimeo / "sep_trainlist.txt").write_text("00001/0001\n00009/0001\n")
    with pytest.raises(DataError, match=r"00009/0001: named in .*sep_trainlist.txt but not there"):
        training_set("vimeo90k", frames=2, patch_size=16, seed=0)
    (vimeo / "sep_trainlist.txt").write_text("00001/0002\n")
    (vimeo / "sequences" / "00001" / "0002" / "im4.png").unlink()
    with pytest.raises(DataError, match="00001/0002: has 6 frames instead of 7"):
        training_set("vimeo90k", frames=2, patch_size=16, seed=0)
    (vimeo / "sep_trainlist.txt").write_text("")
    with pytest.raises(DataError, match="names no septuplets"):
        training_set("vimeo90k", frames=2, patch_size=16, seed=0)
    (vimeo / "sep_trainlist.txt").write_bytes(b"00001/0001\n\xff\xfe")
    with pytest.raises(DataError, match=r"sep_trainlist.txt: damaged, byte 11 is not UTF-8"):
        training_set("vimeo90k", frames=2, patch_size=16, seed=0)


def test_vimeo_pictures_cut_short(vimeo: Path) -> None:
    picture = vimeo / "sequences" / "00001" / "0002" / "im3.png"
    picture.write_bytes(picture.read_bytes()[:80])
    with pytest.raises(DataError, match=r"0002/im3.png: damaged"):
        training_set("vimeo90k", frames=2, patch_size=16, seed=0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("vimeo90k", "vimeo90k: not found; set DATASET"),
        ("procedual", "did you mean 'procedural'"),
        ("nowhere/at/all", "no such file or folder"),
        ("procedural+nothing", "nothing: no such file or folder"),
        ("{folder}", "holds no clips"),
        ("{folder}/part*.tar", "no such shard"),
        ("{folder}/notes.txt", "cannot be read as video"),
        ("{folder}/bad.tar", "damaged or not an uncompressed tar"),
    ],
)
def test_bad_names(tmp_path: Path, data: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "bad.tar").write_text("hello")
    with pytest.raises(DataError, match=message) as raised:
        training_set(data.format(folder=tmp_path), frames=2, patch_size=16, seed=0)
    assert "\n" not in str(raised.value)


def test_tar_without_pictures(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "a.tar"), encoder=False) as tar:
        tar.write({"__key__": "a", "txt": b"hello"})
    with pytest.raises(DataError, match="holds no clips"):
        training_set(str(tmp_path / "a.tar"), frames=2, patch_size=16, seed=0)


def test_frames_of_several_sizes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", marked_clip(0, 3, 16, 16))
    write_png(tmp_path / "a" / "im9.png", marked_clip(0, 1, 20, 16)[0])
    with pytest.raises(DataError, match="im9.png: 20x16 in a folder of 16x16"):
        training_set(str(tmp_path / "a"), frames=2, patch_size=16, seed=0)


def test_stamp_follows_the_files(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.y4m", VideoInfo(4, 4)) as writer:
        writer.write(Frame(rgb=np.zeros((3, 4, 4), np.uint8)))
    before = FileClip(tmp_path / "a.y4m").stamp
    os.utime(tmp_path / "a.y4m", ns=(1, 1))
    assert FileClip(tmp_path / "a.y4m").stamp != before


def test_real_clips(real_clips: Path) -> None:
    clips = training_set(str(real_clips / "train"), frames=5, patch_size=192, seed=0, cut="6")
    (batch,) = batches(clips, steps=1, batch_size=4)
    assert batch.shape == (4, 5, 3, 192, 192)
    assert batch.float().std() > 10


def test_readers_need_no_torch() -> None:
    """Opening clips, and the errors of it, must be quick."""
    code = "import sys; import torchDVC.dataset.video, torchDVC.dataset.testing; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
