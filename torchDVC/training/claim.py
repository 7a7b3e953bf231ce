"""Who may train in a folder: one process, or the processes of one run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from torchDVC.util.errors import LCPError
from torchDVC.util.files import remove_leftovers
from torchDVC.util.launch import first_process
from torchDVC.util.locks import locked


@contextlib.contextmanager
def only_trainer(folder: Path) -> Iterator[None]:
    """Be the one process that trains in a folder; what killed ones left half-written there is removed.

    The first of several processes of a run is it for all of them. Raises `LCPError` naming the one that is there.
    """

    def refuse(holder: str) -> None:
        raise LCPError(f"{folder}: {holder} trains here; wait for its end, or give another --save_dir")

    if not first_process():
        yield
        return
    with locked(folder / ".lock", refuse):
        for place in (folder, folder / "checkpoints"):
            remove_leftovers(place)
        yield
