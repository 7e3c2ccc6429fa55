"""Where FGSM overstates robustness: there the gradient of rescaled logits is a clearly stronger attack.

The sign of the gradient depends on the logits' scale, because cross-entropy weighs the other classes by it. If a factor
alone makes the attack stronger, FGSM is not the strongest attack of its kind (Carlini et al. 2019, arXiv 1902.06705).
The stage `attack` raises the alarm `rescaled_logits`; if it was accepted, the report marks the values it is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustness_study.attacks.alarms import clearly_fewer
from robustness_study.attacks.catalogue import MARGIN, RESCALED
from robustness_study.core.array_text import from_text
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.intervals import Summary, summarise
from robustness_study.results.metric_kinds import under_attack

ALARM = "rescaled_logits"


@dataclass(frozen=True)
class Gain:
    """How much stronger the attack by the gradient of rescaled logits is than FGSM, on the same images."""

    epsilon_255: int
    share: float  # accuracy under the reported attack minus accuracy under this one
    clear: bool  # above the alarm's margin, and significant in the paired test


def attacks_of(result: CellResults) -> dict[str, dict[str, Any]]:
    """The attacks by the gradient of rescaled logits: factor → its part of attack.json."""
    found = result.attack["attacks"].items()
    return {name.removeprefix(RESCALED): attack for name, attack in found if name.startswith(RESCALED)}


def gains(result: CellResults) -> list[Gain]:
    """The gain of every factor at every epsilon; empty if `rescaled_logits` did not run."""
    found = []
    for factor, attack in attacks_of(result).items():
        positions = from_text(attack["positions"])
        for epsilon_255 in attack["predictions"]:
            labels, predicted = result.attacked(f"{RESCALED}{factor}", epsilon_255)
            correct = predicted == labels
            reported = result.attacked("fgsm", epsilon_255)[1][positions] == labels
            share = float(reported.mean() - correct.mean())
            found.append(Gain(int(epsilon_255), share, clearly_fewer(correct, reported, MARGIN)))
    return found


def clear_at(result: CellResults) -> list[int]:
    """The epsilons, in 1/255, at which the gradient of some factor is clearly stronger."""
    return sorted({gain.epsilon_255 for gain in gains(result) if gain.clear})


def with_accepted_alarm(cells: Cells) -> Cells:
    """The losses and training sets with at least one model whose alarm was accepted."""
    return {name: results for name, results in cells.items() if any(ALARM in each.attack["alarms"] for each in results)}


def under_strongest_factor(results: list[CellResults]) -> tuple[str, dict[int, Summary]]:
    """The factor with the lowest accuracy summed over all epsilons, and its accuracy by epsilon in 1/255."""
    by_factor = {
        factor: {
            int(epsilon_255): summarise(results, under_attack(f"{RESCALED}{factor}", epsilon_255))
            for epsilon_255 in attack["predictions"]
        }
        for factor, attack in attacks_of(results[0]).items()
    }
    strongest = min(by_factor, key=lambda factor: sum(summary["mean"] for summary in by_factor[factor].values()))
    return strongest, by_factor[strongest]
