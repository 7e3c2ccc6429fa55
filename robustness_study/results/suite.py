"""Accuracies of a model under the suite's corruptions: of each, over groups of them, and for each image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from robustness_study.core.array_text import from_text
from robustness_study.core.cell import CONFIDENCES_DIGEST, IMAGES_DIGEST, WEIGHTS_DIGEST
from robustness_study.corruptions import CIFAR_10_C, CIFAR_10_C_FAMILIES, HELD_OUT


class Stress:
    """The accuracies in one model's stress.json.

    `seen` names corruptions similar to what training does to images; None if the training is not known.
    """

    def __init__(self, result: dict[str, Any], seen: Iterable[str] | None) -> None:
        self.model: str = result["model"]
        self.weights: str = result[WEIGHTS_DIGEST]
        self.copies: str = result[IMAGES_DIGEST]  # of the corrupted images
        self.confidences: str = result[CONFIDENCES_DIGEST]
        self.images: int = result["images"]
        self.training_is_known = seen is not None
        self.seen = list(seen or ())
        self.test_indices: str = result["test_indices"]
        self.by_corruption: dict[str, list[float]] = {}
        self.temperature: float | None = result["temperature"]
        self.rows: list[dict[str, Any]] = result["rows"]
        self.severities: list[int] = [row["severity"] for row in result["rows"]]
        for row in result["rows"]:
            self.by_corruption.setdefault(row["corruption"], []).append(row["accuracy"])
        (self.clean,) = self.by_corruption.pop("clean")
        self.labels: str = result["labels"]
        self.predictions: dict[str, list[str]] = result["predictions"]

    def of(self, names: Iterable[str]) -> list[str]:
        """The names that are in the suite."""
        return [name for name in names if name in self.by_corruption]

    def mean(self, names: Iterable[str], severity: int | None = None) -> float | None:
        """The mean accuracy over corruptions, at one severity or all; None if the suite has none of them."""
        levels = slice(None) if severity is None else slice(severity - 1, severity)
        found = [self.accuracies(name)[levels] for name in names if name in self.predictions]
        return float(np.mean(found)) if found else None

    def calibration_error(self, names: Iterable[str], key: str) -> float | None:
        """The mean over corruptions and severities of the expected calibration error; None if the suite has none.

        `key` is `calibration_error`, or `calibration_error_scaled` for that after temperature scaling, which is
        None for a model whose validation images are not known.
        """
        chosen = set(names)
        found = [row[key] for row in self.rows if row["corruption"] in chosen]
        return float(np.mean(found)) if found and None not in found else None

    def accuracies(self, name: str) -> list[float]:
        """The accuracies of one corruption, one per severity; for `clean`, the single accuracy on clean images."""
        return [self.clean] if name == "clean" else self.by_corruption[name]

    def right(self, names: Iterable[str], severity: int | None = None) -> np.ndarray:
        """For each image, the share of these corruptions and severities under which it is classified correctly, N.

        `clean`, the images without a corruption, is also a valid name.
        """
        labels, of_each = from_text(self.labels), [self.predictions[name] for name in names]
        texts = [text for of_one in of_each for text in (of_one if severity is None else [of_one[severity - 1]])]
        return np.mean([from_text(text) == labels for text in texts], axis=0)

    def groups(self) -> dict[str, list[str]]:
        """The groups of corruptions that the report gives means for: name → corruptions, all of CIFAR-10-C.

        Where the training is not known, `seen` and `unseen` are empty.
        """
        main = self.of(CIFAR_10_C)
        return {
            "main": main,
            "held out": self.of(HELD_OUT),
            **{family: self.of(members) for family, members in CIFAR_10_C_FAMILIES.items()},
            "seen": [name for name in main if name in self.seen],
            "unseen": [name for name in main if name not in self.seen and self.training_is_known],
        }

    def others(self) -> list[str]:
        """The suite's corruptions that are not in CIFAR-10-C, so in no group."""
        return [name for name in self.by_corruption if name not in (*CIFAR_10_C, *HELD_OUT)]
