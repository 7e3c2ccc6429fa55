"""Errors a person can act on: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable


class StudyError(Exception):
    """Something the person running the study can put right; its text is one line."""


def run(main: Callable[[], None]) -> None:
    """Run a stage's `main`; a StudyError ends it with its one line on stderr and exit status 1."""
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
