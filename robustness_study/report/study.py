"""Everything that the report shows, computed once: models, summaries of metrics, differences, conclusions, tables."""

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
    """The models of a study, and two results about several of them: transferred attacks, stability of a plane."""

    cells: Cells
    transfer: dict[str, Any]
    stability: dict[str, Any]

    @property
    def first(self) -> CellResults:
        """The first model that params name."""
        return next(iter(self.cells.values()))[0]

    @property
    def every(self) -> list[CellResults]:
        """All models."""
        return [result for results in self.cells.values() for result in results]

    @property
    def seeds(self) -> int:
        """The number of seeds; each loss and training set has the same."""
        return len(next(iter(self.cells.values())))

    @cached_property
    def summaries(self) -> intervals.Summaries:
        """The summary of every metric."""
        return intervals.all_metrics(self.cells)

    @cached_property
    def differences(self) -> list[differences.Difference]:
        """Every difference between two losses, or between two training sets."""
        return differences.differences(self.cells)

    @cached_property
    def conclusions(self) -> list[conclusions.Conclusion]:
        """The two studies' conclusions, each with its verdict."""
        return conclusions.conclusions(self.differences)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of metrics by name; every entry of a table is a `Summary`."""
        cells = self.cells
        flips = self.first.row("test_clean")["flip_accuracy"] is not None
        return {
            "studies": tables.studies_table(self.summaries),
            "all_metrics": tables.metrics_table(self.summaries),
            "beside_accuracy": tables.beyond_accuracy(cells),
            "fast_gradient_sign": attack_tables.ladder_table(cells),
            "fast_gradient_sign_in_full": attack_tables.attack_table(cells),
            "other_attacks": attack_tables.other_attacks_table(cells),
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
        """Measures of the features and of their UMAP plane."""
        return tables.features_table(self.cells)

    @cached_property
    def every_accuracy(self) -> pd.DataFrame:
        """Accuracy under every corruption at every severity, in long format."""
        return suite_tables.every_accuracy(self.cells)

    def check_shared_files(self) -> None:
        """Raises StudyError if transfer.json or stability.json was made from other models than this study's."""
        keys = {row[0].cell.key for row in self.cells.values()}
        if {(row["source"], row["target"]) for row in self.transfer["rows"]} != set(product(keys, keys)):
            raise StudyError(
                "reports/transfer.json was made from other models than this study's; run `dvc repro publish_shared`"
            )
        if self.stability["model"] != self.first.cell.key:
            raise StudyError(
                "reports/stability.json was made from another model than the first one; run `dvc repro publish_shared`"
            )
