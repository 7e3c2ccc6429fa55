"""Everything that the report shows, computed once: models, summaries of metrics, differences, conclusions, tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import pandas as pd

from robustness_study import training_sets
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_record
from robustness_study.report import attack_tables, suite_tables, tables
from robustness_study.results import conclusions, corruption_errors, differences, intervals
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.cells import read_cells
from robustness_study.results.consistency import refuse_contradicting_shared


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
    def controls(self) -> dict[str, str]:
        """The training sets that are a control: name → what for, in a sentence. None if the study has no others."""
        found = {name: training_sets.control(name) for _, name in self.cells}
        controls = {name: sentence for name, sentence in found.items() if sentence is not None}
        return controls if len(controls) < len(found) else {}

    @property
    def compared(self) -> list[str]:
        """The training sets that are not a control."""
        return [name for name in dict.fromkeys(name for _, name in self.cells) if name not in self.controls]

    @property
    def one_each(self) -> str:
        """How many models a value is the mean of, in words."""
        return "one seed" if self.seeds == 1 else f"mean of {self.seeds} seeds"

    @property
    def where_alarms_are(self) -> str:
        """What a caption points to for alarms."""
        return "the accepted alarm"

    @property
    def of_first_seed(self) -> str:
        """The end of a caption about the models of the first seed."""
        return f", seed {self.first.cell.seed}"

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
        """Every difference between two losses, or between two training sets; controls are not part of this family."""
        return differences.differences({name: row for name, row in self.cells.items() if name[1] in self.compared})

    @property
    def differences_table(self) -> pd.DataFrame:
        """The same as a table, in percentage points."""
        return differences.table(self.differences)

    @cached_property
    def families(self) -> list[conclusions.Family]:
        """The families of claims: those that this study can test, with verdicts, and why others are left out."""
        return conclusions.families(self.cells, self.compared)

    @property
    def concluded(self) -> list[conclusions.Family]:
        """The families in which this study can test a claim."""
        return [family for family in self.families if family.conclusions]

    @property
    def left_out(self) -> dict[str, str]:
        """The claims that this study cannot test: text → what it lacks."""
        return {text: why for family in self.families for text, why in family.left_out.items()}

    @cached_property
    def tables_of_models(self) -> dict[str, pd.DataFrame]:
        """Those of the tables that need neither training sets nor claims."""
        cells = self.cells
        return {
            "all_metrics": tables.metrics_table(self.summaries),
            "beside_accuracy": tables.beyond_accuracy(cells),
            "robust_accuracy": attack_tables.robust_table(cells),
            "fast_gradient_sign": attack_tables.ladder_table(cells),
            "fast_gradient_sign_in_full": attack_tables.attack_table(cells),
            "other_attacks": attack_tables.other_attacks_table(cells),
            "suite": suite_tables.means_table(cells, self.corruption_errors),
            "recall_per_class": tables.recall_table(cells),
        }

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of metrics by name; every entry of a table is a `Summary`."""
        cells = self.cells
        flips = self.first.row("test_clean")["flip_accuracy"] is not None
        return {
            "studies": tables.studies_table(self.summaries, self.compared),
            **(
                {"controls": tables.accuracy_table(self.summaries, self.controls, tables.TESTED_ON)}
                if self.controls
                else {}
            ),
            **self.tables_of_models,
            **({"corruption_effects": effects} if len(effects := suite_tables.effects_table(cells)) else {}),
            **({"flip_test_time_augmentation": tables.flip_table(cells)} if flips else {}),
        }

    @cached_property
    def corruption_errors(self) -> corruption_errors.Errors:
        """The corruption errors (mCE and relative mCE) of every model, over groups of corruptions."""
        return corruption_errors.corruption_errors(self.cells)

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

    @property
    def accuracy_in_full(self) -> pd.DataFrame:
        """The same with the columns that a reader needs."""
        return self.every_accuracy

    def _check_shared_files(self) -> None:
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


def read(losses: list[str], train_sets: list[str], seeds: list[int], similar: list[str]) -> Study:
    """The study in the files under reports/ that are in git. `similar` names corruptions similar to training.

    Raises StudyError if a file is missing or broken, or if two files contradict each other.
    """
    cells = read_cells(losses, train_sets, seeds, similar)
    transfer = read_record("reports/transfer.json", "epsilon_255", "images", "rows", "alarms")
    stability = read_record("reports/stability.json", "model", "neighbours", "seeds", "measures")
    study = Study(cells, transfer, stability)
    study._check_shared_files()
    refuse_contradicting_shared(cells, transfer, stability)
    return study
