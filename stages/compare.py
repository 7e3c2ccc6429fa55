"""Stage `compare`: the results of every model that params name → the comparison: tables, pictures and report.

It reads only files that are in git, so it runs on a fresh clone. If a cell is missing, it stops with an error that
names the cell, because an incomplete comparison supports no conclusion. Out, under `reports/`: `comparison.json` (a DVC
metric), `comparison.csv` and `curves.csv` (DVC plots), `statistics.json`, `corruption_errors.json`, `tables/`,
`figures/`, `report.md`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from robustness_study.core import params
from robustness_study.core.files import write_json, write_text
from robustness_study.core.program import run
from robustness_study.report import page, statistics_json, tables
from robustness_study.report.pictures import PICTURES
from robustness_study.report.study import read as read_study
from robustness_study.results.headline import means_over_seeds
from robustness_study.results.seen_corruptions import seen
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe

REPORTS = Path("reports")


def write_csv(name: str, frame: pd.DataFrame, index: bool = True, float_format: str | None = "%.6f") -> None:
    """Writes a table to reports/NAME.csv."""
    write_text(REPORTS / f"{name}.csv", frame.to_csv(index=index, float_format=float_format, lineterminator="\n"))


def main() -> None:
    values = params.read()
    losses, train_sets, seeds = (params.lookup(values, name) for name in ("losses", "train_sets", "seeds"))
    recipe_name = params.lookup(values, "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    similar = seen(params.section("corrupt", Corrupt), recipe, train_sets)
    study = read_study(losses, train_sets, seeds, similar)
    for picture in PICTURES:
        picture.draw(REPORTS / f"figures/{picture.name}.png", study)
    for name, frame in study.tables.items():
        write_csv(f"tables/{name}", tables.in_columns(frame))
    write_csv("tables/transfer", study.transfer_table)
    write_csv("tables/features", study.features)
    write_csv("tables/suite_in_full", study.every_accuracy, index=False)
    write_csv("comparison", tables.comparison_chart(study.summaries), index=False)
    write_csv("curves", tables.curves(study.cells), index=False, float_format=None)
    write_text(REPORTS / "report.md", page.markdown(study))
    write_json(REPORTS / "corruption_errors.json", study.corruption_errors)
    write_json(REPORTS / "statistics.json", statistics_json.as_json(study))
    write_json(REPORTS / "comparison.json", means_over_seeds(study.cells))
    print(study.tables["studies"].map(lambda summary: summary["mean"]).to_markdown(floatfmt=".4f"))


if __name__ == "__main__":
    run(main)
