"""The results of audited models in the form that tables, pictures and the page are made from."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd

from robustness_study.audit.parts import Model, results_of
from robustness_study.report.study import Study
from robustness_study.results import conclusions, differences
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.corruption_errors import Errors
from robustness_study.results.intervals import Summary, summarise
from robustness_study.results.metric_kinds import under_attack
from robustness_study.results.metrics import BESIDE, METRICS
from robustness_study.results.suite import Stress

OF_TRAINING = ("std", "n", "McNemar's p for each seed")  # columns of differences that say nothing of single models


class Audit(Study):
    """Models that were trained elsewhere: no training sets, no seeds, no claims that were written down before."""

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name; every entry is a `Summary`. Rows that no model has are left out."""
        found = {"summary": summary_table(self.cells), **self.tables_of_models}
        return {name: _known(frame) for name, frame in found.items()}

    @property
    def controls(self) -> dict[str, str]:
        """None."""
        return {}

    @cached_property
    def differences(self) -> list[differences.Difference]:
        """Every difference between two of the models, on the same images."""
        return differences.differences(self.cells, over_images=True)

    @property
    def differences_table(self) -> pd.DataFrame:
        """The same as a table, in percentage points."""
        return super().differences_table.drop(columns=list(OF_TRAINING), errors="ignore")

    @property
    def families(self) -> list[conclusions.Family]:
        """None: no claim about these models was written down before."""
        return []

    @property
    def corruption_errors(self) -> Errors:
        """None: they need a reference model."""
        return {loss: {} for loss, _ in self.cells}

    @property
    def accuracy_in_full(self) -> pd.DataFrame:
        """Accuracy under every corruption at every severity."""
        return self.every_accuracy.rename(columns={"loss": "model"}).drop(columns=["train_set", "std", "n"])

    @property
    def one_each(self) -> str:
        """What a value is of, in words."""
        return "one model"

    @property
    def where_alarms_are(self) -> str:
        """What a caption points to: an audit accepts no alarm, it shows them."""
        return "the alarms"

    @property
    def of_first_seed(self) -> str:
        """Nothing: a model from elsewhere has no seed."""
        return ""


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in which some entry has a value."""
    return frame[[any(entry["mean"] is not None for entry in row) for row in frame.itertuples(index=False)]]


def summary_table(cells: Cells) -> pd.DataFrame:
    """The main results: a row per kind of test image with the number of images, a column per model."""
    columns = {}
    for (name, _), results in cells.items():
        rows: dict[str, Summary] = {}
        for metric in METRICS:
            if not metric.is_difference and metric.name not in ("robust_2", "suite_unseen_mean"):
                rows[_titled(metric.title, metric.images(results[0]))] = summarise(results, metric)
        worst = results[0].attack["attacks"].get("worst_case", {"predictions": {}, "images": 0})
        for epsilon_255 in worst["predictions"]:
            title = f"under every attack, ε = {epsilon_255}/255"
            rows[_titled(title, worst["images"])] = summarise(results, under_attack("worst_case", epsilon_255))
        for metric in BESIDE:
            if metric.name in ("calibration_error_clean", "calibration_error_corrupted"):
                rows[metric.title] = summarise(results, metric)
        columns[name] = rows
    return pd.DataFrame(columns).rename_axis("tested on")


def _titled(title: str, images: int | None) -> str:
    return title if images is None else f"{title} (n = {images})"


def read(models: list[Model]) -> Audit:
    """The results of models whose parts are all done."""
    cells: Cells = {}
    for model in models:
        found = results_of(model)
        cells[model.cell.key, ""] = [
            CellResults(
                model.cell,
                found["evaluate"],
                found["attack"],
                Stress(found["stress"], None),
                {},
                found.get("plane"),
            )
        ]
    nothing: dict[str, Any] = {"rows": [], "alarms": {}}
    return Audit(cells, nothing, nothing)


def metrics(audit: Audit) -> dict[str, dict[str, float]]:
    """The value of every metric that a model has, by model; the names are those of the pipeline's `metrics.json`."""
    found = {}
    for (name, _), (result,) in audit.cells.items():
        values = {metric.name: metric.of(result) for metric in (*METRICS, *BESIDE)}
        for epsilon_255 in result.attack["attacks"].get("worst_case", {"predictions": {}})["predictions"]:
            values[f"robust_{epsilon_255}"] = under_attack("worst_case", epsilon_255).of(result)
        found[name] = {metric: value for metric, value in values.items() if value is not None}
    return found
