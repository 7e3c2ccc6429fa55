"""Stage `headline`: the cells of the headline loss → `reports/metrics.json`, its curves and confusion.

The mean over seeds of each training set, under fixed paths and names whatever the loss, so that
`dvc metrics diff` and `dvc plots diff` set one branch's headline beside another's.
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.errors import run
from robustness_study.core.files import write_json, write_text
from robustness_study.results import cell_results
from robustness_study.results.akin import seen
from robustness_study.results.cell_results import CellResults
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe


def curves_csv(cells: list[CellResults]) -> str:
    """Curves of all cells, long: a row per training set, seed and epoch."""
    names = list(cells[0].curves)
    rows = [",".join(["model", *names])]
    for result in cells:
        model = f"{result.cell.train_set}-{result.cell.seed}"  # no loss: the two sides of a diff must match
        for values in zip(*result.curves.values(), strict=True):
            rows.append(",".join([model, f"{values[0]:.0f}", *map(str, values[1:])]))
    return "\n".join(rows) + "\n"


def confusion_csv(by_train_set: dict[str, list[CellResults]]) -> str:
    """Counts on clean test images, summed over seeds: a row per training set, label and prediction."""
    rows = ["train_set,actual,predicted,count"]
    for train_set, cells in by_train_set.items():
        classes = cells[0].evaluate["dataset"]["classes"]
        counts = np.sum([result.confusion("test_clean") for result in cells], axis=0)
        for actual, predicted in np.ndindex(*counts.shape):
            rows.append(f"{train_set},{classes[actual]},{classes[predicted]},{counts[actual, predicted]}")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", required=True)
    loss = parser.parse_args().loss
    values = params.read()
    train_sets, seeds = params.lookup(values, "train_sets"), params.lookup(values, "seeds")
    recipe_name = params.lookup(values, "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    akin = seen(params.section("corrupt", Corrupt), recipe, train_sets)
    cells = {name: [cell_results.read(Cell(loss, name, seed), akin) for seed in seeds] for name in train_sets}
    for result in (result for name in train_sets for result in cells[name]):
        cell_results.refuse_incomparable(result, cells[train_sets[0]][0])
    metrics = {f"{name}_trained": cell_results.mean_over_seeds(cells[name]) for name in train_sets}
    write_text("reports/headline/curves.csv", curves_csv([cell for name in train_sets for cell in cells[name]]))
    write_text("reports/headline/confusion.csv", confusion_csv(cells))
    write_json("reports/metrics.json", metrics)
    shown = "  ".join(f"{name}: test {m['test_clean']:.3f} → {m['test_corrupted']:.3f}" for name, m in metrics.items())
    print(f"headline {loss}, clean → corrupted  {shown}")


if __name__ == "__main__":
    run(main)
