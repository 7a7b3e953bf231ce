"""The header of a coded video, field by field. See `docs/bitstream.md`."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torchDVC.coding_structure import MAX_REFERENCES, CodingStructure

MAGIC = b"\x89LCP"
VERSION = 1
GOP_SIZES = tuple(1 << n for n in range(8))
REFERENCES_SHIFT = 4
"""A byte of the header holds the logarithm of the GOP size and, from this bit on, references of P frames minus 1."""
MATRICES, PRECISIONS = ("bt601", "bt709"), ("32", "bf16-mixed", "16-mixed")
"""A byte of the header holds the index of the matrix, and twice that of the precision that pictures are computed in."""
RANGES, SAME_DEVICE = ("limited", "full"), 2
"""A byte of the header holds the index of the range; this bit is set where only the device that wrote it decodes it."""
ASPECTS_SHIFT = 2
ASPECTS = (None, *map(Fraction, (
    "1", "12/11", "10/11", "16/11", "40/33", "24/11", "20/11", "32/11", "80/33", "18/11", "15/11", "64/33", "160/99",
    "4/3", "3/2", "2", "16/15", "64/45", "8/9", "32/27",
)))  # fmt: skip
"""From this bit on, the same byte holds the shape of pixels, as H.273 (table 4) counts them, then those of DV."""
HASH_BYTES = 16
MAX_FRAMES = 2**31 - 1
MAX_PIXELS = 2**26


@dataclass(frozen=True)
class Field:
    """An unsigned, big-endian integer of the header and its range."""

    name: str
    size: int
    low: int
    high: int

    def to_bytes(self, value: int) -> bytes:
        """A value as it stands in the file; raises ValueError if it is not allowed."""
        return self._checked(value).to_bytes(self.size, "big")

    def from_bytes(self, data: bytes) -> int:
        """The value that stands in the file; raises ValueError if it is not allowed."""
        return self._checked(int.from_bytes(data, "big"))

    def _checked(self, number: int) -> int:
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.name} is {number}; expected {self.low} to {self.high}")
        return number


HEADER_FIELDS = (
    Field("version", 1, VERSION, VERSION),
    Field("width", 2, 1, 16384),
    Field("height", 2, 1, 16384),
    Field("frames", 4, 0, MAX_FRAMES),
    Field("fps_numerator", 4, 1, 2**32 - 1),
    Field("fps_denominator", 4, 1, 2**32 - 1),
    Field("matrix", 1, 0, len(MATRICES) * len(PRECISIONS) - 1),
    Field("range", 1, 0, (len(ASPECTS) << ASPECTS_SHIFT) - 1),
    Field("intra_period", 2, 0, 2**16 - 1),
    Field("gop", 1, 0, (MAX_REFERENCES - 1) << REFERENCES_SHIFT | len(GOP_SIZES) - 1),
    Field("quality", 1, 0, 255),
)
HEADER_BYTES = len(MAGIC) + sum(field.size for field in HEADER_FIELDS) + HASH_BYTES + 4


@dataclass(frozen=True)
class Header:
    """What a stream says about itself.

    width, height: of the pictures in pixels; frames: how many, None while that is not known (an unfinished file).
    fps: frames a second; matrix ("bt601", "bt709") and range ("limited", "full"): the YUV that the pictures came from.
    intra_period, gop_size, references: coding structure, see `torchDVC.coding_structure`.
    quality: index of packets that say none; model: the first 16 bytes of the model's SHA-256.
    same_device: only the device that wrote it decodes it, as its model is not exact.
    aspect: the width of a pixel over its height; None where that is not known. Only those of `ASPECTS` are kept.
    precision: what the encoder computed pictures in, and a decoder does, so that theirs are the same.
    """

    width: int
    height: int
    frames: int | None
    fps: Fraction
    matrix: str
    range: str
    intra_period: int
    gop_size: int
    quality: int
    model: bytes
    references: int = 1
    same_device: bool = False
    aspect: Fraction | None = None
    precision: str = "32"

    @property
    def structure(self) -> CodingStructure:
        """The coding structure."""
        return CodingStructure(self.intra_period, self.gop_size, self.references)

    @property
    def max_payload(self) -> int:
        """No packet's payload is longer than this many bytes."""
        return 65536 + 8 * self.width * self.height

    def to_bytes(self) -> bytes:
        """The header as it stands in a file; raises ValueError if a value is out of range."""
        values: dict[str, Any] = {
            **vars(self),
            "version": VERSION,
            "frames": self.frames or 0,
            "fps_numerator": self.fps.numerator,
            "fps_denominator": self.fps.denominator,
            "gop": self.gop_size.bit_length() - 1 | (self.references - 1) << REFERENCES_SHIFT,
        }
        for name, allowed in (("matrix", MATRICES), ("range", RANGES), ("precision", PRECISIONS)):
            if values[name] not in allowed:
                raise ValueError(f"{name} is '{values[name]}'; expected {' or '.join(allowed)}")
        values["matrix"] = MATRICES.index(self.matrix) + len(MATRICES) * PRECISIONS.index(self.precision)
        aspect = ASPECTS.index(self.aspect) if self.aspect in ASPECTS else 0
        values["range"] = RANGES.index(self.range) | SAME_DEVICE * self.same_device | aspect << ASPECTS_SHIFT
        if self.gop_size not in GOP_SIZES:
            raise ValueError(f"gop_size is {self.gop_size}; expected a power of two up to {GOP_SIZES[-1]}")
        if not 1 <= self.references <= MAX_REFERENCES:
            raise ValueError(f"references is {self.references}; expected 1 to {MAX_REFERENCES}")
        if len(self.model) != HASH_BYTES:
            raise ValueError(f"model is {len(self.model)} bytes; expected {HASH_BYTES}")
        _check_pixels(self.width, self.height)
        fields = (field.to_bytes(values[field.name]) for field in HEADER_FIELDS)
        data = MAGIC + b"".join(fields) + self.model
        return data + zlib.crc32(data).to_bytes(4, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Read a header; raises ValueError that says what is wrong."""
        _check_foreign(data)
        values: dict[str, Any] = {}
        at = len(MAGIC)
        for field in HEADER_FIELDS:
            values[field.name] = field.from_bytes(data[at : at + field.size])
            at += field.size
        _check_pixels(values["width"], values["height"])
        del values["version"]
        references, log2_gop = divmod(values.pop("gop"), 1 << REFERENCES_SHIFT)
        if log2_gop >= len(GOP_SIZES):
            raise ValueError(f"gop_size is 2^{log2_gop}; expected at most {GOP_SIZES[-1]}")
        precision, matrix = divmod(values.pop("matrix"), len(MATRICES))
        aspect, value_range = divmod(values.pop("range"), 1 << ASPECTS_SHIFT)
        return cls(
            matrix=MATRICES[matrix],
            precision=PRECISIONS[precision],
            range=RANGES[value_range % SAME_DEVICE],
            same_device=value_range >= SAME_DEVICE,
            aspect=ASPECTS[aspect],
            frames=values.pop("frames") or None,
            fps=Fraction(values.pop("fps_numerator"), values.pop("fps_denominator")),
            gop_size=GOP_SIZES[log2_gop],
            references=1 + references,
            model=data[at : at + HASH_BYTES],
            **values,
        )


def _check_foreign(data: bytes) -> None:
    """Raise ValueError unless these are the intact bytes of a header of this version."""
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("not an .lcp file")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise ValueError(f"an .lcp file of version {data[len(MAGIC)]}; this program reads version {VERSION}")
    if len(data) < HEADER_BYTES:
        raise ValueError("the header is cut off")
    if zlib.crc32(data[: HEADER_BYTES - 4]) != int.from_bytes(data[HEADER_BYTES - 4 : HEADER_BYTES], "big"):
        raise ValueError("the header is damaged (wrong checksum)")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"pictures of {width}x{height}; expected at most {MAX_PIXELS} pixels")
