"""What `reports/statistics.json` holds: every figure with its spread, every difference, every conclusion."""

from __future__ import annotations

from typing import Any

from robustness_study.report import attack_tables, suite_tables, tables
from robustness_study.results.cell_results import Cells
from robustness_study.results.conclusions import Conclusion
from robustness_study.results.differences import Difference
from robustness_study.results.intervals import Figures, covers, whole
from robustness_study.statistics import wilson_interval


def difference_as_json(difference: Difference) -> dict[str, Any]:
    """A difference, as shares and not points."""
    found = difference.estimate
    return {
        "model": "-".join(difference.model),
        "minus": "-".join(difference.other),
        "metric": difference.metric,
        "mean": found.mean,
        "std": found.std,
        "n": found.n,
        "interval_95": list(found.interval_95),
        "interval_covers": covers(found.n),
        "p_value": found.p_value if found.n > 1 else None,
        "p_holm": difference.p_holm,
        "p_mcnemar_by_seed": difference.p_mcnemar,
    }


TABLES = {
    "beside_accuracy": tables.beside_accuracy,
    "fast_gradient_sign": attack_tables.ladder_table,
    "fast_gradient_sign_in_full": attack_tables.attack_table,
    "other_attacks": attack_tables.beside_attack_table,
    "suite": suite_tables.means_table,
    "recall_per_class": tables.recall_table,
}


def as_json(
    cells: Cells,
    table: Figures,
    found: list[Difference],
    concluded: list[Conclusion],
    transfer: dict[str, Any],
    alarms: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """The whole file; `alarms` are those accepted, with their reasons, by model."""
    images = transfer["images"]
    of_pairs = [
        {**row, "images": images, "interval_95": wilson_interval(row["accuracy"], images)} for row in transfer["rows"]
    ]
    return {
        "figures": table,
        "tables": {name: make(cells, whole).to_dict() for name, make in TABLES.items()},
        "transfer": of_pairs,
        "alarms": {model: of_model for model, of_model in alarms.items() if of_model},
        "differences": [difference_as_json(difference) for difference in found],
        "conclusions": [
            {
                "claim": conclusion.claim,
                "verdict": conclusion.verdict(),
                "because": [difference.sentence() for difference in conclusion.differences],
                "differences": [difference_as_json(difference) for difference in conclusion.differences],
            }
            for conclusion in concluded
        ],
    }
