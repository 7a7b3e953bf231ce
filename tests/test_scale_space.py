"""Scale-space flow as a model of its own modules, beside CompressAI's ``ssf2020`` with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data
from torch import Tensor

from torchDVC import tester, trainer
from torchDVC.config import load_model_config, load_run
from torchDVC.dataset.video import Frame, VideoInfo, open_writer
from torchDVC.models.codec import Codec
from torchDVC.results.rows import read_frames, read_rows

pytest.importorskip("compressai")
SIZE = (128, 256)


def pictures() -> list[Tensor]:
    """Two frames of a photograph that moves, (1, 3, 128, 256)."""
    photograph = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None] / 255
    return [photograph[..., top : top + SIZE[0], 100 + 2 * top : 100 + 2 * top + SIZE[1]] for top in (40, 43)]


def calibrated() -> Any:
    """CompressAI's model with random transforms whose densities fit these pictures, as training makes them."""
    from compressai.registry import MODELS

    torch.manual_seed(0)
    model = MODELS["ssf2020"]().eval()
    first, second = pictures()
    with torch.no_grad():
        model.motion_decoder[-1].weight.mul_(0.05)
        model.motion_decoder[-1].bias.copy_(torch.tensor([0.01, 0.02, -0.5]))
        calibrate(model.img_encoder, model.img_hyperprior, first)
        reference, _ = model.forward_keyframe(first)
        calibrate(model.motion_encoder, model.motion_hyperprior, torch.cat((second, reference), 1))
        motion, _ = model.motion_hyperprior(model.motion_encoder(torch.cat((second, reference), 1)))
        prediction = model.forward_prediction(reference, model.motion_decoder(motion))
        calibrate(model.res_encoder, model.res_hyperprior, second - prediction)
    model.update(force=True)
    return model


def calibrate(encoder: Any, hyperprior: Any, x: Tensor) -> None:
    """Let each channel of the latent have a deviation of 2, and the hyper-decoders say so, and what the mean is."""
    encoder[-1].weight.mul_((2 / encoder(x).std((0, 2, 3)))[:, None, None, None])
    y = encoder(x)
    scales, means = hyperprior.hyper_decoder_scale.deconv3, hyperprior.hyper_decoder_mean[-1]
    for last, values in ((scales, y.std((0, 2, 3))), (means, y.mean((0, 2, 3)))):
        last.weight.mul_(0.1)
        last.bias.copy_(values)


def clip(path: Path) -> Path:
    with open_writer(path, VideoInfo(SIZE[1], SIZE[0])) as writer:
        for picture in pictures():
            writer.write(Frame(rgb=(picture[0] * 255).byte().numpy()))
    return path


def test_rate_and_distortion_are_those_of_compressai(tmp_path: Path) -> None:
    """Measured by the tester, in a real stream, with weights that the csv names."""
    model = calibrated()
    torch.save(model.state_dict(), tmp_path / "ssf2020.pth.tar")
    lines = ["code,name,type,args,weights", "i,intra_codec,ScaleSpaceIntra,,ssf2020.pth.tar",
             "m,motion_codec,ScaleSpaceFlow,,ssf2020.pth.tar", "r,residual_codec,ScaleSpaceResidual,,ssf2020.pth.tar"]
    (tmp_path / "ssf.csv").write_text("\n".join(lines) + "\n")
    flags = ["--lmda", "256", "--model_config", str(tmp_path / "ssf.csv"), "--run_config", "ssf2020.cfg", "--no-memory",
             "--test_datasets", str(clip(tmp_path / "clip.y4m")), "--save_dir", str(tmp_path / "res"), "--write_stream",
             "--no_image", "--device", "cpu"]  # fmt: skip
    assert tester.main(flags) == 0
    frames = read_frames(tmp_path / "res/frames.csv")
    sources = [Frame(rgb=(picture[0] * 255).byte().numpy()) for picture in pictures()]
    given = [torch.from_numpy(Frame(yuv=frame.yuv).rgb.copy())[None] / 255 for frame in sources]
    with torch.no_grad():
        reference, key = model.encode_keyframe(given[0])
        reference = reference.clamp(0, 1)
        decoded, inter = model.encode_inter(given[1], reference)
    sizes = [sum(map(len, key["strings"][0] + key["strings"][1]))]
    sizes.append(sum(len(s[0]) for part in inter["strings"].values() for s in part))
    for frame, size, picture, source in zip(frames, sizes, (reference, decoded), given, strict=True):
        strings = 2 if frame.type == "I" else 4
        assert frame.bits == pytest.approx(8 * (size - 4 * strings), rel=0.005, abs=64)
        psnr = float(-10 * ((picture.clamp(0, 1) * 255).round() / 255 - source).square().mean().log10())
        assert frame.psnr_rgb == pytest.approx(psnr, abs=0.02)
    (row,) = read_rows(tmp_path / "res/rd.csv")
    assert row.bpp and row.kmac_decode and row.kmac_decode > 100


def test_the_shipped_csv_has_every_weight_of_ssf2020() -> None:
    from compressai.registry import MODELS

    config, _ = load_run("ssf2020.csv", "ssf2020.cfg", "test")
    codec = Codec(config)
    theirs = MODELS["ssf2020"]().state_dict()
    for spec in config.modules:
        module: Any = codec.get_submodule(spec.name)
        module.load_state_dict(module.translate_weights(theirs))
    assert load_model_config("ssf2020.csv").name == "ssf2020"


def test_it_learns_on_pictures_of_any_size(tmp_path: Path, clip_folder: Path) -> None:
    """96x80, padded inside; motion and residual get gradients."""
    (tmp_path / "small.json").write_text('{"width": 6, "planes": 8}')
    lines = ["code,name,type,args,weights", "i,intra_codec,ScaleSpaceIntra,small.json",
             "m,motion_codec,ScaleSpaceFlow,small.json", "r,residual_codec,ScaleSpaceResidual,small.json"]
    (tmp_path / "ssf.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "ssf.cfg").write_text(
        f"[process: all]\nimode = i\npmode = mr\nRNN = 1\nsteps = 2\nbatch_size = 1\npatch_size = 64\ndata = "
        f"{clip_folder}\n"
    )
    flags = ["--lmda", "256", "--model_config", str(tmp_path / "ssf.csv"), "--run_config", str(tmp_path / "ssf.cfg"),
             "--save_dir", str(tmp_path / "run"), "--no_comet", "--num_workers", "0", "--device", "cpu",
             "--test_datasets", str(clip_folder / "one.y4m")]  # fmt: skip
    assert trainer.main(flags) == 0
    metrics = (tmp_path / "run/metrics.csv").read_text().splitlines()
    assert "motion_rate" in metrics[0] and "residual_rate" in metrics[0]
