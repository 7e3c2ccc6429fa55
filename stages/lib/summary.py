"""What `reports/statistics.json` holds: every figure with its spread, every difference, every conclusion."""

from __future__ import annotations

from typing import Any

from stages.lib.claims import Conclusion
from stages.lib.comparisons import Difference
from stages.lib.spread import Figures, covers


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


def as_json(table: Figures, found: list[Difference], concluded: list[Conclusion]) -> dict[str, Any]:
    """The whole file."""
    return {
        "figures": table,
        "differences": [difference_as_json(difference) for difference in found],
        "conclusions": [
            {
                "claim": conclusion.claim,
                "verdict": conclusion.verdict(),
                "because": [difference.sentence() for difference in conclusion.differences],
            }
            for conclusion in concluded
        ],
    }
