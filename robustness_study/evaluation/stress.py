"""Scores one model on corrupted images: predicted labels, and the accuracy under one corruption at one severity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from robustness_study.classifier.inference import outputs
from robustness_study.classifier.model import Classifier

BATCH_SIZE = 250


def predictions_of(model: Classifier, images: np.ndarray) -> np.ndarray:
    """Predicted labels, int64 N, of uint8 images N×H×W×3."""
    logits, _ = outputs(model, torch.from_numpy(images), BATCH_SIZE)
    return logits.argmax(1).cpu().numpy()


def accuracy_row(corruption: str, severity: int, predictions: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """A row of results: the corruption, its severity (0: clean) and the accuracy, in [0, 1], of predictions N."""
    names = {"case": f"{corruption} {severity}", "corruption": corruption, "severity": severity}
    return names | {"accuracy": float((predictions == labels).mean())}
