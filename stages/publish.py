"""Stage `publish@LOSS-TRAINSET-SEED`: copies the small results of a model to `reports/cells/`, which is in git.

All outputs of a model's other stages are in DVC's cache, so that DVC's run-cache and remotes can restore them. This
stage copies the results that people, `compare` and `headline` read. It takes almost no time, so its own outputs are
not cached.
"""

from __future__ import annotations

from robustness_study.core.cached import remedy
from robustness_study.core.cell import CURVES_DIGEST, RESULTS, Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import bytes_digest, copy_file, read_bytes, read_record
from robustness_study.core.program import run


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    wanted = read_record(cell.result("evaluate.json"), CURVES_DIGEST)[CURVES_DIGEST]
    if bytes_digest(read_bytes(curves := cell.result("curves.csv"))) != wanted:
        raise StudyError(f"{curves} was changed, or is of another training; {remedy(curves)}")
    for name in RESULTS:
        if name.endswith(".json"):
            read_record(cell.result(name))  # refuses a file that was changed, before it is in git
        copy_file(cell.result(name), cell.published(name))


if __name__ == "__main__":
    run(main)
