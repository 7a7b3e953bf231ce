"""The names of the formats that a codec may work in; `torchDVC.dataset.picture_format` has what they mean."""

from __future__ import annotations

RGB = "rgb"
FULL = (RGB, "yuv420", "yuv420p10")
"""Formats whose pictures are three channels of the picture's size: any network for pictures takes them."""
PACKED = ("yuv420_packed", "yuv420p10_packed")
"""Formats whose pictures have six channels at half the size; a module type must declare that it takes them."""
PICTURE_FORMATS = (*FULL, *PACKED)
