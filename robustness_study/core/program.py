"""Runs the `main` of a stage or of another program."""

from __future__ import annotations

import sys
from collections.abc import Callable

from robustness_study.core.errors import StudyError, one_line, shortened
from robustness_study.core.locks import of_stage
from robustness_study.core.terminal import make_unfailing


def run(main: Callable[[], int | None]) -> None:
    """Run the `main` of a program. A StudyError ends it with one line on stderr and exit status 1.

    An operating system error about a file (a full disk, a missing permission) ends it in the same way. If `main`
    returns a number, it is the exit status. A print cannot end the program. A stage never runs twice at the same time
    with the same arguments.
    """
    make_unfailing()
    try:
        with of_stage(main):
            status = main()
    except StudyError as error:
        sys.exit(f"error: {shortened(one_line(str(error)))}")
    except OSError as error:
        if error.strerror is None:  # it is not of the operating system
            raise
        where = f": {one_line(str(error.filename))}" if error.filename else ""
        sys.exit(f"error: {error.strerror}{where}; correct this and run again")
    if status:
        sys.exit(status)
