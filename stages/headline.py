"""Stage `headline`: the results of the headline loss → `reports/metrics.json`, its curves and confusion matrices.

Metrics are means over seeds, for each training set. Paths and names do not depend on the loss, so that
`dvc metrics diff` and `dvc plots diff` can compare the headlines of two branches.
"""

from __future__ import annotations

import argparse

from robustness_study.core import params
from robustness_study.core.files import write_json, write_text
from robustness_study.core.program import run
from robustness_study.results.cells import read_cells
from robustness_study.results.headline import confusion, curves, means_over_seeds
from robustness_study.results.seen_corruptions import seen
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", required=True)
    loss = parser.parse_args().loss
    values = params.read()
    train_sets, seeds = params.lookup(values, "train_sets"), params.lookup(values, "seeds")
    recipe_name = params.lookup(values, "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    similar = seen(params.section("corrupt", Corrupt), recipe, train_sets)
    cells = read_cells([loss], train_sets, seeds, similar, planes=False)
    every = [result for results in cells.values() for result in results]
    metrics = means_over_seeds(cells)[loss]
    by_train_set = {train_set: results for (_, train_set), results in cells.items()}
    write_text("reports/headline/curves.csv", curves(every).to_csv(index=False, lineterminator="\n"))
    write_text("reports/headline/confusion.csv", confusion(by_train_set).to_csv(index=False, lineterminator="\n"))
    write_json("reports/metrics.json", metrics)
    shown = "  ".join(f"{name}: test {m['test_clean']:.3f} → {m['test_corrupted']:.3f}" for name, m in metrics.items())
    print(f"headline {loss}, clean → corrupted  {shown}")


if __name__ == "__main__":
    run(main)
