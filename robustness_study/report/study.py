"""All that the report is made of, computed once: models, metrics with their spread, differences, tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import pandas as pd

from robustness_study.core.errors import StudyError
from robustness_study.report import attack_tables, suite_tables, tables
from robustness_study.results import conclusions, differences, intervals
from robustness_study.results.cell_results import CellResults, Cells


@dataclass(frozen=True)
class Study:
    """The models of a study with what is of several of them together: transferred attacks, a plane's stability."""

    cells: Cells
    transfer: dict[str, Any]
    stability: dict[str, Any]

    @property
    def first(self) -> CellResults:
        """The first model that params name."""
        return next(iter(self.cells.values()))[0]

    @property
    def every(self) -> list[CellResults]:
        """Every model."""
        return [result for results in self.cells.values() for result in results]

    @property
    def seeds(self) -> int:
        """How many seeds each loss and training set has."""
        return len(next(iter(self.cells.values())))

    @cached_property
    def summaries(self) -> intervals.Summaries:
        """Every metric with its spread."""
        return intervals.all_metrics(self.cells)

    @cached_property
    def differences(self) -> list[differences.Difference]:
        """Every difference between two losses, or between two training sets."""
        return differences.differences(self.cells)

    @cached_property
    def conclusions(self) -> list[conclusions.Conclusion]:
        """What becomes of the two studies' conclusions."""
        return conclusions.conclusions(self.differences)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of metrics, by their names: frames with a `Summary` in each place."""
        cells = self.cells
        flips = self.first.row("test_clean")["flip_accuracy"] is not None
        return {
            "studies": tables.studies_table(self.summaries),
            "all_metrics": tables.metrics_table(self.summaries),
            "beside_accuracy": tables.beside_accuracy(cells),
            "fast_gradient_sign": attack_tables.ladder_table(cells),
            "fast_gradient_sign_in_full": attack_tables.attack_table(cells),
            "other_attacks": attack_tables.beside_attack_table(cells),
            "suite": suite_tables.means_table(cells),
            "recall_per_class": tables.recall_table(cells),
            **({"flip_test_time_augmentation": tables.flip_table(cells)} if flips else {}),
        }

    @cached_property
    def transfer_table(self) -> pd.DataFrame:
        """Accuracy on images attacked through another model."""
        return attack_tables.transfer_table(self.transfer)

    @cached_property
    def features(self) -> pd.DataFrame:
        """What can be measured of the features and their UMAP plane."""
        return tables.features_table(self.cells)

    @cached_property
    def every_accuracy(self) -> pd.DataFrame:
        """Accuracy under every corruption at every severity, long."""
        return suite_tables.every_accuracy(self.cells)

    def refuse_foreign(self) -> None:
        """StudyError if the transferred attacks, or the plane's stability, are of other models than these."""
        keys = {row[0].cell.key for row in self.cells.values()}
        if {(row["source"], row["target"]) for row in self.transfer["rows"]} != set(product(keys, keys)):
            raise StudyError(
                "reports/transfer.json is of other models than the study's; run `dvc repro publish_shared`"
            )
        if self.stability["model"] != self.first.cell.key:
            raise StudyError(
                "reports/stability.json is of another model than the first; run `dvc repro publish_shared`"
            )
