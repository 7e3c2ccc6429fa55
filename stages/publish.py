"""Stage `publish@LOSS`: the small results of one loss's models → `reports/cells/LOSS/`, which is in git.

The stages of a model have cached outputs alone, so that DVC's run-cache and remotes know all of them. This stage copies
what people, `compare` and `headline` read. It takes no time, so it needs no cache of its own.
"""

from __future__ import annotations

import argparse

from robustness_study.core import params
from robustness_study.core.cell import PLANE, RESULTS, Cell
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import copy_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", required=True)
    loss = parser.parse_args().loss
    values = params.read()
    train_sets, seeds = params.lookup(values, "train_sets"), params.lookup(values, "seeds")
    cells = [Cell(loss, train_set, seed) for train_set in train_sets for seed in seeds]
    for cell in cells:
        for name, stage in (RESULTS | PLANE if cell.seed == seeds[0] else RESULTS).items():
            if not cell.result(name).is_file():
                raise StudyError(f"{cell.result(name)} does not exist; `dvc repro {stage}@{cell.key}` makes it")
            copy_file(cell.result(name), cell.published(name))
    print(f"publish {loss}: {len(cells)} models")


if __name__ == "__main__":
    run(main)
