"""What a model's accuracies under the suite's corruptions add up to.

Mean accuracies, and the benchmark's own figures (Hendrycks & Dietterich 2019, arXiv 1903.12261, section 4): the
corruption error of a corruption is the sum of a model's error rates over severities, divided by a reference model's;
the relative one takes each model's clean error off first; mCE and relative mCE are their means over corruptions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from robustness_study.core.array_text import from_text
from robustness_study.corruptions import CIFAR_10_C, CIFAR_10_C_FAMILIES, HELD_OUT


class Stress:
    """The accuracies of one model's stress.json; `seen` names corruptions akin to what training does to images."""

    def __init__(self, result: dict[str, Any], seen: Iterable[str]) -> None:
        self.images: int = result["images"]
        self.seen = list(seen)
        self.test_indices: str = result["test_indices"]
        self.by_corruption: dict[str, list[float]] = {}
        for row in result["rows"]:
            self.by_corruption.setdefault(row["corruption"], []).append(row["accuracy"])
        (self.clean,) = self.by_corruption.pop("clean")
        self.labels: str = result["labels"]
        self.predictions: dict[str, list[str]] = result["predictions"]

    def of(self, names: Iterable[str]) -> list[str]:
        """Those of the names that the suite has."""
        return [name for name in names if name in self.by_corruption]

    def mean(self, names: Iterable[str], severity: int | None = None) -> float | None:
        """Mean accuracy over corruptions, at one severity or all; None if the suite has none of them."""
        levels = slice(None) if severity is None else slice(severity - 1, severity)
        found = [self.accuracies(name)[levels] for name in names if name in self.predictions]
        return float(np.mean(found)) if found else None

    def accuracies(self, name: str) -> list[float]:
        """The accuracies of one corruption by severity; of `clean`, that of the images as they are."""
        return [self.clean] if name == "clean" else self.by_corruption[name]

    def right(self, names: Iterable[str], severity: int | None = None) -> np.ndarray:
        """The share of these corruptions and severities under which each image is right, N.

        `clean` is a name as well: the images as they are.
        """
        labels, of_each = from_text(self.labels), [self.predictions[name] for name in names]
        texts = [text for of_one in of_each for text in (of_one if severity is None else [of_one[severity - 1]])]
        return np.mean([from_text(text) == labels for text in texts], axis=0)

    def groups(self) -> dict[str, list[str]]:
        """The groups of corruptions that means are reported of: parts of CIFAR-10-C, whatever else the suite has."""
        main = self.of(CIFAR_10_C)
        return {
            "main": main,
            "held out": self.of(HELD_OUT),
            **{family: self.of(members) for family, members in CIFAR_10_C_FAMILIES.items()},
            "seen": [name for name in main if name in self.seen],
            "unseen": [name for name in main if name not in self.seen],
        }

    def others(self) -> list[str]:
        """The suite's corruptions that are not of CIFAR-10-C, and so in no group."""
        return [name for name in self.by_corruption if name not in (*CIFAR_10_C, *HELD_OUT)]


def corruption_error(model: Stress, reference: Stress, names: Iterable[str], relative: bool = False) -> float | None:
    """The mCE over these corruptions, 1 for the reference itself; None if there is none, or nothing to divide by."""
    ratios = []
    for name in model.of(names):
        errors, others = (1 - np.array(stress.by_corruption[name]) for stress in (model, reference))
        above = ((1 - model.clean), (1 - reference.clean)) if relative else (0.0, 0.0)
        divisor = (others - above[1]).sum()
        if divisor <= 0:
            return None
        ratios.append((errors - above[0]).sum() / divisor)
    return float(np.mean(ratios)) if ratios else None
