"""Several runs at once, each in a process of its own on GPUs of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from signal import SIGTERM

import torch

from torchDVC.config.command_line import TrainOptions
from torchDVC.util.interrupts import ENDING, Interrupts
from torchDVC.util.launch import launcher
from torchDVC.util.start import EXIT_INTERRUPTED

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 0.1
"""Seconds from one look at the runs to the next."""

Run = Callable[[TrainOptions], int]


def shares(options: TrainOptions) -> list[str]:
    """The GPUs that each of several runs at once may have, as `VISIBLE` names them; none where one run has them all.

    What ``torchrun`` or ``srun`` started is part of one run.
    """
    if options.device == "cpu" or launcher():
        return []
    named = os.environ.get(VISIBLE, "")
    gpus = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    found = [",".join(gpus[i : i + options.gpu]) for i in range(0, len(gpus) - options.gpu + 1, options.gpu)]
    return found if len(found) > 1 else []


def run_all(
    run: Run, begins: Sequence[Callable[[], TrainOptions]], gpus: Sequence[str], first_alone: bool = False
) -> int:
    """Run each as soon as one of the GPUs is free; returns the first exit code that is not 0, else 0.

    Signals go on to the runs, each of which saves and ends; after one, or after a run that failed, no other begins.

    Args:
        run: of a module, as it is called in another process.
        begins: what gives the options of each run at its beginning.
        gpus: for one run each, as `VISIBLE` names them.
        first_alone: the others begin when the first has ended.
    """
    waiting, running, code = list(begins), dict[str, _Child](), 0
    usable = gpus[:1] if first_alone else gpus
    with Interrupts() as interrupts, _ended(running):
        sent = False
        while running or waiting:
            if code or interrupts.requested:
                waiting.clear()
            for free in usable:
                if waiting and free not in running:
                    running[free] = _Child.begin(run, waiting.pop(0)(), free)
            if interrupts.requested and not sent:
                sent = True
                for child in running.values():
                    child.signal(interrupts.number)
            time.sleep(POLL)
            for name in [name for name, child in running.items() if not child.process.is_alive()]:
                code = running.pop(name).end() or code
                usable = gpus
    return code


@dataclass(frozen=True)
class _Child:
    """A run in a process, and the thread that prints what it says."""

    process: BaseProcess
    printing: threading.Thread

    @classmethod
    def begin(cls, run: Run, options: TrainOptions, gpus: str) -> _Child:
        """Start it, in a process group of its own, so that a terminal's signals come from here alone."""
        context = get_context("spawn")
        read, write = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(run, options, gpus, write))
        process.start()
        write.close()
        printing = threading.Thread(target=_print, args=(read, f"lmda {options.lmda:g}"))
        printing.start()
        return cls(process, printing)

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)

    def end(self) -> int:
        """Its exit code, once all is printed; that of an interruption where a signal came before it could take any."""
        self.process.join()
        self.printing.join()
        code = self.process.exitcode or 0
        return EXIT_INTERRUPTED if -code in ENDING else code


@contextlib.contextmanager
def _ended(running: dict[str, _Child]) -> Iterator[None]:
    """However the block ends, no run goes on alone."""
    try:
        yield
    finally:
        for child in running.values():
            child.signal(SIGTERM)
        for child in running.values():
            child.end()


def _run(run: Run, options: TrainOptions, gpus: str, output: Connection) -> None:
    """The run's process."""
    from torchDVC.util.errors import run_command

    os.setpgrp()
    os.environ[VISIBLE] = gpus
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", 1, "utf-8", closefd=False) for stream in (1, 2))
    raise SystemExit(run_command(lambda: run(options)))


def _print(output: Connection, name: str) -> None:
    with os.fdopen(os.dup(output.fileno()), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            print(f"{name}: {line}", end="", flush=True)
    output.close()
