"""Stage `publish@LOSS-TRAINSET-SEED`: the small results of a model → `reports/cells/`, which is in git.

The stages of a model have cached outputs alone, so that DVC's run-cache and remotes know all of them. This stage copies
what people, `compare` and `headline` read. It takes no time, so it needs no cache of its own.
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
