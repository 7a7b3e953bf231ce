"""Errors that a user can act on, and how a command line reports them: one clear line each, no traceback."""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterable

from torchDVC.util.interrupts import interruptible
from torchDVC.util.memory import keep_freed
from torchDVC.util.start import EXIT_INTERRUPTED

EXIT_ERROR = 2
LINES_OF_SCREEN = 3

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|bad_alloc")
"""What PyTorch's errors say, on the CPU and on devices."""
_AMOUNT = re.compile(r"allocate ([\d.]+ (?:[KMG]iB|bytes))")


class LCPError(Exception):
    """Something the user gave, or the machine has, is wrong; ``str(error)`` says it in one line per problem."""


class ConfigError(LCPError):
    """One or several problems of configuration files or flags, reported together, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(LCPError):
    """A clip, picture or data set is missing, damaged or of an unknown form; the message names the file."""


class CheckpointError(LCPError):
    """A checkpoint or weights file is missing, damaged, refused, or belongs to another model."""


class BitstreamError(LCPError):
    """A bitstream is damaged, truncated, foreign or hostile; the message names the packet."""


class ModuleError(LCPError):
    """A module does not do what its declaration says; the message names both."""


class NonFiniteError(LCPError):
    """Losses or gradients stayed non-finite; the message names the file the offending batch was saved to."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause to end a message with: ``"; did you mean 'X'?"``, or nothing where no known name is near."""
    folded = {k.lower(): k for k in sorted(known)}
    match = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean '{folded[match[0]]}'?" if match else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause to end a message with: ``"; did you mean 'X'?"``, else the known names, else nothing."""
    known = sorted(known)
    return did_you_mean(name, known) or (f"; known: {', '.join(known)}" if known else "")


def first_line(error: BaseException) -> str:
    """What the error of another library says, without the pages that may follow."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def describe_os_error(error: OSError) -> str:
    """One line for an operating-system error, with the file where it is known."""
    what = "no space left on the disk" if error.errno == errno.ENOSPC else (error.strerror or str(error)).lower()
    return f"{error.filename}: {what}" if error.filename else what


def _asked_for(message: str) -> str:
    """What could not be had, where a message says it."""
    amount = _AMOUNT.search(message)
    return f" for another {amount[1]}" if amount else ""


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command line's body in memory that is kept; turn user-facing errors into one line each and an exit code.

    Returns 0 (or what ``main`` returns) on success, 2 on an `LCPError`, an operating-system error or where memory does
    not suffice, 130 on Ctrl-C, a termination signal or a closed terminal. Programming errors keep their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold what the terminal has no letters for
            stream.reconfigure(errors="backslashreplace")
    keep_freed()
    try:
        with interruptible():
            _check_working_folder()
            return main() or 0
    except LCPError as error:
        _say(str(error))
        return EXIT_ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except OSError as error:
        _say(describe_os_error(error))
        return EXIT_ERROR
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error))):
            raise
        _say(f"not enough memory{_asked_for(str(error))}; try smaller pictures or batches")
        return EXIT_ERROR
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise LCPError("the working folder has been deleted; change to one that exists") from None


def _say(text: str) -> None:
    """Print lines as errors, none longer than three of the screen's, which leaves out its middle."""
    import shutil

    most = LINES_OF_SCREEN * shutil.get_terminal_size().columns
    with contextlib.suppress(OSError):  # the terminal may have been closed
        for line in text.splitlines():
            print(line if len(line) <= most else f"{line[: most // 2]}…{line[1 - most // 2 :]}", file=sys.stderr)
