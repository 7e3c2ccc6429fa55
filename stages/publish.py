"""Stage `publish@LOSS-TRAINSET-SEED`: copies the small results of a model to `reports/cells/`, which is in git.

All outputs of a model's other stages are in DVC's cache, so that DVC's run-cache and remotes can restore them. This
stage copies the results that people, `compare` and `headline` read. It takes almost no time, so its own outputs are
not cached.
"""

from __future__ import annotations

from robustness_study.core.cell import RESULTS, Cell
from robustness_study.core.errors import run
from robustness_study.core.files import copy_file


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    for name in RESULTS:
        copy_file(cell.result(name), cell.published(name))


if __name__ == "__main__":
    run(main)
