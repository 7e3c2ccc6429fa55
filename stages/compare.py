"""Stage `compare`: every model that params names → the comparison, its tables, figures and report.

Reads files that are in git alone, so it runs on a fresh clone. It refuses, naming the cell, when one is
missing: a comparison with a hole supports no conclusion. Out, under `reports/`: `comparison.json` (a DVC
metric), `statistics.json`, `corruption_errors.json`, `tables/`, `figures/`, `curves.csv`, `report.md`.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustness_study.core import params
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import read_json, write_json, write_text
from robustness_study.report import attack_tables, charts, page, statistics_json, suite_charts, suite_tables, tables
from robustness_study.results import cell_results, conclusions, differences, flattered, intervals
from robustness_study.results.akin import seen
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Figures
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe
from robustness_study.statistics import half_width

REPORTS = Path("reports")


def read_cells(losses: list[str], train_sets: list[str], seeds: list[int], seen: list[str]) -> Cells:
    """Every cell of the matrix; StudyError if one is missing or does not compare with the rest."""
    cells = {
        (loss, train_set): [
            cell_results.read(Cell(loss, train_set, seed), seen, embedded=seed == seeds[0]) for seed in seeds
        ]
        for loss in losses
        for train_set in train_sets
    }
    every = [result for row in cells.values() for result in row]
    for result in every:
        cell_results.refuse_incomparable(result, every[0])
        refuse_another_model(result)
    return cells


def refuse_another_model(result: CellResults) -> None:
    """StudyError if the attacks, on the model and on its neighbours, at epsilon 0 did not see what `evaluate` saw."""
    _, clean = result.predictions("test_clean")
    attacked = result.attacked("fgsm_0")[1]
    chosen = from_text(result.attack["test_indices"])
    differ = [(attacked != clean[chosen]).mean()]
    if "knn_fgsm" in result.attack["attacks"]:  # params may turn it off
        of_neighbours = from_text(result.evaluate["details"]["test_clean"]["knn_predictions"])[chosen]
        positions = from_text(result.attack["attacks"]["knn_fgsm"]["positions"])
        differ.append((result.attacked("knn_fgsm_0")[1] != of_neighbours[positions]).mean())
    # Two devices may round a few logits apart; another model differs on many images.
    if max(differ) > 0.01:
        raise StudyError(
            f"the attack on {result.cell.key} at epsilon 0 is not what evaluate saw; "
            f"run `dvc repro -f evaluate@{result.cell.key} attack@{result.cell.key}`"
        )


def draw(cells: Cells, figures: Figures) -> None:
    """The figures under reports/figures."""
    first = next(iter(cells.values()))[0]
    groups = {f"{name} → {test}": (name, test) for _, name in cells for test in ("clean", "corrupted")}
    losses = list(dict.fromkeys(loss for loss, _ in cells))
    bars, ends = {}, {}
    for loss in losses:
        rows = [figures[loss][f"{train_set}_trained"][f"test_{test}"] for train_set, test in groups.values()]
        bars[loss] = [row["mean"] for row in rows]
        ends[loss] = [row["interval_95"] for row in rows]
    images, seeds = first.images("test_clean"), len(next(iter(cells.values())))
    over = intervals.covers(seeds)
    note = f"Trained on → tested on; {images} test images, {seeds_said(seeds)}, 95 % interval over {over}"
    charts.grouped_bars(REPORTS / "figures/accuracy.png", list(groups), bars, ends, note)
    ladder = attack_tables.ladder_table(cells, intervals.mean_and_interval)
    chance = 1 / len(first.evaluate["dataset"]["classes"])
    series = {str(name): np.array(ladder[name].tolist()) for name in ladder}
    title = (
        f"Fast gradient sign method on {first.attack['images']} clean test images\n"
        f"{seeds_said(seeds)}, 95 % interval over {over}"
    )
    beside = {}
    for (loss, train_set), row in flattered.with_accepted_alarm(cells).items():
        factor, left = flattered.left_by_the_better(row)
        images = next(iter(left.values()))["images"]
        of_model = {epsilon_255: intervals.mean_and_interval(figure) for epsilon_255, figure in left.items()}
        beside[f"{loss}, {train_set}"] = f"† {factor} × its logits, {images} images", of_model
    charts.ladder(REPORTS / "figures/ladder.png", ladder.index.tolist(), series, beside, chance, title)
    curves = {result.cell.key: result.curves for row in cells.values() for result in row}
    charts.training_curves(REPORTS / "figures/curves.png", curves)
    matrices = {row[0].cell.key: row[0].confusion("test_clean") for row in cells.values()}
    charts.confusion_grid(REPORTS / "figures/confusion.png", matrices, first.evaluate["dataset"]["classes"])


def read_of_first_seed(cells: Cells) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is of the first seed's models together: transferred attacks, and the stability of the first one's plane."""
    transfer, stability = read_json(REPORTS / "transfer.json"), read_json(REPORTS / "stability.json")
    keys = {row[0].cell.key for row in cells.values()}
    if {(row["source"], row["target"]) for row in transfer["rows"]} != set(product(keys, keys)):
        raise StudyError(f"{REPORTS}/transfer.json is of other models than the study's; run `dvc repro transfer`")
    if stability["model"] != next(iter(cells.values()))[0].cell.key:
        raise StudyError(f"{REPORTS}/stability.json is of another model than the first; run `dvc repro stability`")
    return transfer, stability


def draw_suite(cells: Cells, every_accuracy: pd.DataFrame) -> None:
    """The suite's two figures."""
    first = next(iter(cells.values()))[0]
    stress, groups = first.stress, first.stress.groups()
    order = [*groups["main"], *groups["held out"]]
    order += [name for name in stress.by_corruption if name not in order]
    models = {f"{loss}, {train_set}": (loss, train_set) for loss, train_set in cells}
    shown, accuracies = every_accuracy[every_accuracy["severity"] > 0], {}
    for model, (loss, train_set) in models.items():
        of_model = shown[(shown["loss"] == loss) & (shown["train_set"] == train_set)]
        accuracies[model] = {name: of_model.loc[of_model["corruption"] == name, "accuracy"].tolist() for name in order}
    half_widths = (shown["upper_95"] - shown["lower_95"]) / 2
    seeds = len(next(iter(cells.values())))
    of = f"{stress.images} test images, {seeds_said(seeds)}"
    over = f"95 % interval over {intervals.covers(seeds)}"
    ends = [end for end in (len(groups["main"]), len(groups["main"] + groups["held out"])) if 0 < end < len(order)]
    table = suite_tables.means_table(cells, intervals.mean_of)
    suite_charts.heat_maps(
        REPORTS / "figures/suite.png",
        accuracies,
        {model: float(table[model]["main"]) for model in models},
        stress.seen,
        ends,
        f"{of}; {over} ± {half_widths.median():.3f} (median), ± {half_widths.max():.3f} at most; * akin to training",
    )
    panels = {
        group: {model: suite_tables.by_severity(cells[names], group) for model, names in models.items()}
        for group, members in groups.items()
        if members and group not in ("main", "held out")
    }
    chance = 1 / len(first.evaluate["dataset"]["classes"])
    suite_charts.by_severity(REPORTS / "figures/severity.png", panels, chance, f"Mean accuracy; {of}; {over}")


def seeds_said(seeds: int) -> str:
    """Of how many seeds a figure is the mean."""
    return "one seed" if seeds == 1 else f"mean of {seeds} seeds"


def main() -> None:
    values = params.read()
    losses, train_sets, seeds = (params.lookup(values, name) for name in ("losses", "train_sets", "seeds"))
    recipe_name = params.lookup(values, "recipe")
    recipe = params.section(f"recipes.{recipe_name}", Recipe)
    akin = seen(params.section("corrupt", Corrupt), recipe, train_sets)
    cells = read_cells(losses, train_sets, seeds, akin)
    comparison: dict[str, dict[str, dict[str, float | None]]] = {loss: {} for loss in losses}
    for (loss, train_set), row in cells.items():
        comparison[loss][f"{train_set}_trained"] = cell_results.mean_over_seeds(row)
    found = differences.differences(cells)
    concluded = conclusions.conclusions(found)
    figures = intervals.figures(cells)
    transfer, stability = read_of_first_seed(cells)
    draw(cells, figures)
    charts.transfer_matrix(
        REPORTS / "figures/transfer.png",
        attack_tables.transfer_table(transfer),
        f"Accuracy, FGSM ε = {transfer['epsilon_255']}/255, seed {seeds[0]}\n{transfer['images']} clean test images, "
        f"95 % ± {half_width(transfer['images']):.3f} at most",
    )
    every_accuracy = suite_tables.every_accuracy(cells)
    draw_suite(cells, every_accuracy)
    of_figures = {
        "studies": tables.studies_table(figures, intervals.whole),
        "all_metrics": tables.all_metrics(figures, intervals.whole),
        **{name: make(cells, intervals.whole) for name, make in statistics_json.TABLES.items()},
    }
    frames = {name: tables.in_columns(frame) for name, frame in of_figures.items()}
    frames |= {"transfer": attack_tables.transfer_table(transfer), "features": tables.features_table(cells)}
    for name, frame in frames.items():
        write_text(REPORTS / f"tables/{name}.csv", frame.to_csv(float_format="%.6f", lineterminator="\n"))
    write_text(
        REPORTS / "tables/suite_in_full.csv",
        every_accuracy.to_csv(index=False, float_format="%.6f", lineterminator="\n"),
    )
    write_text(REPORTS / "curves.csv", tables.curves(cells).to_csv(index=False, lineterminator="\n"))
    write_text(REPORTS / "report.md", page.markdown(cells, figures, found, concluded, transfer, stability))
    write_json(REPORTS / "corruption_errors.json", suite_tables.corruption_errors(cells))
    accepted = {row.cell.key: row.attack["alarms"] for of_cell in cells.values() for row in of_cell}
    accepted["transfer"] = transfer["alarms"]
    write_json(
        REPORTS / "statistics.json", statistics_json.as_json(cells, figures, found, concluded, transfer, accepted)
    )
    write_json(REPORTS / "comparison.json", comparison)
    print(tables.studies_table(figures, intervals.mean_of).to_markdown(floatfmt=".4f"))


if __name__ == "__main__":
    run(main)
