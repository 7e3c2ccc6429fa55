"""Errors a person can act on: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable


class StudyError(Exception):
    """Something the person running the study can put right; its text is one line."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; a StudyError ends it with its one line on stderr and exit status 1.

    So does the system's refusal of a file: a full disk, a missing permission.
    """
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.strerror is None:
            raise
        sys.exit(f"error: {error.strerror}{f': {error.filename}' if error.filename else ''}; put that right, run again")
