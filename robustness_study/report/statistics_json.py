"""The contents of `reports/statistics.json`: the summary of every metric, every difference, every claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustness_study.report.study import Study
from robustness_study.results.conclusions import Conclusion, Family
from robustness_study.results.differences import Difference
from robustness_study.results.families import Adjusted
from robustness_study.results.intervals import covers, varies
from robustness_study.statistics import Estimate, wilson_interval

TABLES = (
    "beside_accuracy",
    "robust_accuracy",
    "fast_gradient_sign",
    "fast_gradient_sign_in_full",
    "other_attacks",
    "suite",
    "recall_per_class",
)


def estimate_as_json(found: Estimate, adjusted: Adjusted) -> dict[str, Any]:
    """A difference with what its family says about it, in shares, not percentage points."""
    return {
        "mean": found.mean,
        "std": found.std,
        "n": found.n,
        "interval_95": list(found.interval_95) if varies(found) else None,
        "interval_covers": covers(found.n) if varies(found) else None,
        "simultaneous_95": list(adjusted.simultaneous_95) if found.n > 1 and adjusted.simultaneous_95 else None,
        "p_value": found.p_value if found.n > 1 and varies(found) else None,
        "p_holm": adjusted.p_holm,
        "smallest_detectable": adjusted.smallest_detectable,
    }


def difference_as_json(difference: Difference) -> dict[str, Any]:
    """A single difference."""
    return {
        "model": "-".join(difference.model),
        "minus": "-".join(difference.other),
        "metric": difference.metric,
        **estimate_as_json(difference.estimate, difference.adjusted),
        "p_mcnemar_by_seed": difference.p_mcnemar,
    }


def family_as_json(family: Family) -> list[dict[str, Any]]:
    """The claims of a family, each also with the verdict and the adjusted p-value that other tests would give."""
    return [
        conclusion_as_json(family.title, each, {name: of[place] for name, of in family.by_other_tests.items()})
        for place, each in enumerate(family.conclusions)
    ]


def conclusion_as_json(family: str, conclusion: Conclusion, by_other_tests: Mapping[str, Conclusion]) -> dict[str, Any]:
    """A claim with its verdict; it is adjusted together with the others of its family."""
    return {
        "family": family,
        "claim": conclusion.claim.text,
        "verdict": conclusion.verdict(),
        "contrast": conclusion.claim.contrast(),
        "metric": conclusion.claim.metric,
        **estimate_as_json(conclusion.estimate, conclusion.adjusted),
        "other_tests": {
            name: {"verdict": other.verdict(), "p_holm": other.adjusted.p_holm}
            for name, other in by_other_tests.items()
        },
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
        "conclusions": [each for family in study.concluded for each in family_as_json(family)],
        "claims_left_out": study.left_out,
    }
