"""Published rate-distortion points on HEVC-D, means over its sequences; `plots.published` says where each is from."""

DATASET = "HEVC-D"

POINTS = {
    ("HLVC", "psnr_rgb"): ((0.1173, 28.6544), (0.199, 30.8125), (0.3347, 32.795), (0.5589, 34.7743)),
    ("HLVC", "ms_ssim_rgb"): ((0.1072, 0.9633), (0.1496, 0.9693), (0.2376, 0.9833), (0.3794, 0.9891)),
}
