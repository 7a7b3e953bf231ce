"""Published rate-distortion points on HEVC-B, means over its sequences; `plots.published` says where each is from."""

DATASET = "HEVC-B"

POINTS = {
    ("HLVC", "psnr_rgb"): ((0.0688, 31.7031), (0.1093, 33.238), (0.1883, 34.5965), (0.3536, 35.7882)),
    ("HLVC", "ms_ssim_rgb"): ((0.0861, 0.9596), (0.1324, 0.9669), (0.2307, 0.9763), (0.4242, 0.9824)),
}
