"""The contents of `reports/statistics.json`: the summary of every metric, every difference, every conclusion."""

from __future__ import annotations

from typing import Any

from robustness_study.report.study import Study
from robustness_study.results.differences import Difference
from robustness_study.results.intervals import covers
from robustness_study.statistics import wilson_interval

TABLES = (
    "beside_accuracy",
    "fast_gradient_sign",
    "fast_gradient_sign_in_full",
    "other_attacks",
    "suite",
    "recall_per_class",
)


def difference_as_json(difference: Difference) -> dict[str, Any]:
    """A difference as JSON, in shares, not percentage points."""
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


def as_json(study: Study) -> dict[str, Any]:
    """The contents of the whole file."""
    images = study.transfer["images"]
    of_pairs = [
        {**row, "images": images, "interval_95": wilson_interval(row["accuracy"], images)}
        for row in study.transfer["rows"]
    ]
    alarms = {result.cell.key: result.attack["alarms"] for result in study.every}
    alarms["transfer"] = study.transfer["alarms"]
    return {
        "metrics": study.summaries,
        "tables": {name: study.tables[name].to_dict() for name in TABLES},
        "transfer": of_pairs,
        "alarms": {model: of_model for model, of_model in alarms.items() if of_model},
        "differences": [difference_as_json(difference) for difference in study.differences],
        "conclusions": [
            {
                "claim": conclusion.claim,
                "verdict": conclusion.verdict(),
                "because": [difference.sentence() for difference in conclusion.differences],
                "differences": [difference_as_json(difference) for difference in conclusion.differences],
            }
            for conclusion in study.conclusions
        ],
    }
