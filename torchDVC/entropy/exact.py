"""What decides symbols, as integers that a model file stores.

Integers are worked out from trained real weights once, at export. Another library or device may round a logarithm or a
sigmoid differently, so a decoder never works them out again: it is given those of the model file.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from torchDVC.util.errors import CheckpointError

Integers = Mapping[str, np.ndarray]
"""int32 arrays by name."""


class ExactModule(nn.Module):
    """Base of the modules that turn decoded integers into means, table rows or tables.

    Until it is fixed, such a module follows its weights (it can be trained); from then on it uses integers only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fixed: Integers | None = None

    def integers(self) -> Integers:
        """Everything of this module that decides symbols: those it was fixed to, else those of its present weights."""
        return self._fixed if self._fixed is not None else self.work_out()

    def fix(self, integers: Integers) -> None:
        """Use these integers from now on, whatever the weights.

        Raises `CheckpointError` where they are not of a form, or beyond the range, that this module computes exactly.
        """
        self._use(integers)
        self._fixed = dict(integers)

    def work_out(self) -> Integers:
        """The integers of the present weights."""
        raise NotImplementedError

    def _use(self, integers: Integers) -> None:
        """Check integers and prepare to compute with them."""
        raise NotImplementedError


def expect(integers: Integers, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises `CheckpointError` unless the arrays are there, integers, and of these shapes."""
    for name, shape in shapes.items():
        array = integers.get(name)
        if array is None or array.shape != shape or not np.issubdtype(array.dtype, np.integer):
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CheckpointError(f"integers '{name}': {found}; expected integers of shape {shape}")
