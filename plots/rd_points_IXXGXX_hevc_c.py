"""Published rate-distortion points on HEVC-C, means over its sequences; `plots.published` says where each is from."""

DATASET = "HEVC-C"

POINTS = {
    ("HLVC", "psnr_rgb"): ((0.1117, 28.4321), (0.1951, 30.4874), (0.3158, 32.2846), (0.5441, 34.2527)),
    ("HLVC", "ms_ssim_rgb"): ((0.1147, 0.9565), (0.1551, 0.9624), (0.2581, 0.979), (0.4118, 0.9856)),
}
