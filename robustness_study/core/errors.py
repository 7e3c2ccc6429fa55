"""Errors that the user can correct: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable

from robustness_study.core.terminal import make_unfailing


class StudyError(Exception):
    """An error that the user can correct. Its text is one line."""


def one_line(text: str) -> str:
    r"""`text` with control and invisible characters as Python writes them, such as `\n`: file names may have them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def run(main: Callable[[], int | None]) -> None:
    """Run the `main` of a program. A StudyError ends it with one line on stderr and exit status 1.

    An operating system error about a file (a full disk, a missing permission) ends it in the same way. If `main`
    returns a number, it is the exit status. A print cannot end the program.
    """
    make_unfailing()
    try:
        status = main()
    except StudyError as error:
        sys.exit(f"error: {one_line(str(error))}")
    except OSError as error:
        if error.strerror is None:
            raise
        where = f": {one_line(str(error.filename))}" if error.filename else ""
        sys.exit(f"error: {error.strerror}{where}; correct this and run again")
    if status:
        sys.exit(status)
