"""Compares models trained on AugMix images and on corrupted images with a model trained on clean images.

It needs the three models of one loss and seed: run `dvc exp run -S 'train_sets=[clean,corrupted,augmix]'` first. It
writes `bench/results/augmix.json`, from which the table in docs/results.md is made: accuracies in [0, 1], and paired
differences with a 95 % interval over images.
`python -m bench.augmix [--loss cross_entropy] [--seed 1]`
"""

from __future__ import annotations

import argparse
from typing import Any

from bench import report
from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from robustness_study.results.cell_results import CellResults, read
from robustness_study.results.cells import refuse_incomparable
from robustness_study.results.differences import difference_of
from robustness_study.results.intervals import summarise
from robustness_study.results.metric import Metric
from robustness_study.results.metric_kinds import under_corruptions
from robustness_study.results.metrics import BY_NAME
from robustness_study.results.seen_corruptions import seen
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe

AGAINST = "clean"
TRAIN_SETS = ("augmix", "corrupted")


def metrics_of(cell: CellResults) -> list[Metric]:
    """The compared metrics: accuracy on clean test images, under the studies' corruption (the mix) and in the suite."""
    groups = [name for name, found in cell.stress.groups().items() if found]
    return [
        BY_NAME["test_clean"],
        BY_NAME["test_corrupted"],
        *(under_corruptions(name) for name in (*groups, *cell.stress.by_corruption)),
    ]


def compared(cell: CellResults, other: CellResults, metric: Metric) -> dict[str, Any]:
    """A metric of two models, and the first value minus the second."""
    difference = difference_of([cell], [other], metric)
    return {
        "metric": metric.name,
        "images": metric.images(cell),
        cell.cell.train_set: round(summarise([cell], metric)["mean"], 4),
        other.cell.train_set: round(summarise([other], metric)["mean"], 4),
        "difference": round(difference.mean, 4),
        "interval_95_images": [round(end, 4) for end in difference.interval_95],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    values = params.read()
    recipe = Recipe.model_validate(values["recipes"][values["recipe"]])
    similar = seen(params.section("corrupt", Corrupt), recipe, (*TRAIN_SETS, AGAINST))
    cells = {name: read(Cell(arguments.loss, name, arguments.seed), similar) for name in (*TRAIN_SETS, AGAINST)}
    for name in TRAIN_SETS:
        refuse_incomparable(cells[name], cells[AGAINST])
    found = {
        "loss": arguments.loss,
        "seed": arguments.seed,
        "recipe": values["recipe"],
        "augmix": values["train_set_config"]["augmix"],
        "trained_on": {name: cell.evaluate["trained_on"] for name, cell in cells.items()},
        "unseen": cells[AGAINST].stress.groups()["unseen"],
        "rows": [
            compared(cells[name], cells[AGAINST], metric)
            for name in TRAIN_SETS
            for metric in metrics_of(cells[AGAINST])
        ],
    }
    write_json(report.RESULTS / "augmix.json", found)
    for row in found["rows"]:
        low, high = row["interval_95_images"]
        name = next(name for name in TRAIN_SETS if name in row)
        print(
            f"{row['metric']:28s} {name:9s} {row[name]:.3f}   {AGAINST} {row[AGAINST]:.3f}   "
            f"difference {100 * row['difference']:+5.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
        )


if __name__ == "__main__":
    run(main)
