"""Runs the `main` of a stage or of another program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from robustness_study.core.errors import StudyError, one_line, shortened
from robustness_study.core.imports import changed_files
from robustness_study.core.locks import of_stage, stage_of
from robustness_study.core.terminal import make_unfailing


def run(main: Callable[[], int | None]) -> None:
    """Run the `main` of a program. A StudyError ends it with one line on stderr and exit status 1.

    An operating system error about a file (a full disk, a missing permission) ends it in the same way. If `main`
    returns a number, it is the exit status. A print cannot end the program. A stage never runs twice at the same time
    with the same arguments.
    """
    make_unfailing()
    try:
        refuse_other_code(stage_of(main))
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


def refuse_other_code(stage: str | None) -> None:
    """Raise StudyError if the code of a stage is not what `check` recorded in data/code/.

    DVC knows the code by that record. If somebody edits the code while the pipeline runs, DVC would keep results of the
    new code as results of the old. A folder without a record is no pipeline.
    """
    record = Path(f"data/code/{stage}.txt")
    if stage is not None and record.is_file() and (changed := changed_files(record.read_text(encoding="utf-8"))):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise StudyError(f"{changed[0]}{more} changed after `check` recorded the code; run `dvc repro` again")
