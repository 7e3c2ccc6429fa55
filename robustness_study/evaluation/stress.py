"""Scores one model on corrupted images: accuracy and calibration under one corruption at one severity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from robustness_study.classifier.inference import Scored, outputs
from robustness_study.core.array_text import to_text
from robustness_study.evaluation.calibration import calibration_error_at, confidence

BATCH_SIZE = 250


def logits_of(model: Scored, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Logits, float32 N×classes, of uint8 images N×H×W×3."""
    logits, _ = outputs(model, torch.from_numpy(images), batch_size)
    return logits.cpu().numpy()


def score(
    model: Scored,
    corruption: str,
    copies: Mapping[int, np.ndarray],
    labels: np.ndarray,
    temperature: float | None,
    batch_size: int = BATCH_SIZE,
) -> tuple[list[dict[str, Any]], list[str], np.ndarray]:
    """A row of results, the text of the predicted labels, and the confidences, for each severity of a corruption.

    The confidences are those of the predicted labels, in [0, 1], float16 severities×N.
    `copies` maps severity → uint8 images N×H×W×3. `labels` are N. The logits are divided by `temperature`, which is
    None if no validation images are known.
    """
    logits = {severity: logits_of(model, images, batch_size) for severity, images in copies.items()}
    rows = [row_of(corruption, severity, found, labels, temperature) for severity, found in logits.items()]
    return rows, [to_text(found.argmax(1)) for found in logits.values()], np.stack([*map(confidence, logits.values())])


def row_of(
    corruption: str, severity: int, logits: np.ndarray, labels: np.ndarray, temperature: float | None
) -> dict[str, Any]:
    """A row of results: the corruption, its severity (0: clean), and what follows from logits N×classes and labels N.

    These are the accuracy and the expected calibration error before and after scaling by the temperature, in [0, 1].
    Without a temperature the latter is None.
    """
    return {
        "case": f"{corruption} {severity}",
        "corruption": corruption,
        "severity": severity,
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "calibration_error": calibration_error_at(logits, labels, 1.0),
        "calibration_error_scaled": None if temperature is None else calibration_error_at(logits, labels, temperature),
    }
