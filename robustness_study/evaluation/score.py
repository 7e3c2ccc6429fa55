"""Scores one model on sets of images: with its own classifier, and with kNN and a linear probe on its features.

Everything is computed in float32, so that the accuracies equal those of the stage `attack` at epsilon 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from robustness_study.classifier.inference import accuracy, outputs
from robustness_study.classifier.model import Classifier
from robustness_study.core.array_text import to_text
from robustness_study.core.threads import matrices_on_one_thread
from robustness_study.evaluation.angles import class_angles
from robustness_study.evaluation.calibration import expected_calibration_error
from robustness_study.evaluation.neighbours import compact, knn_predictions
from robustness_study.evaluation.probe import fit_probe
from robustness_study.schema.evaluate import Evaluate

Sets = dict[str, tuple[np.ndarray, np.ndarray]]  # name → images uint8 N×H×W×3 and labels N


def sets_of(
    train_set: str,
    own: np.ndarray,
    clean: Mapping[str, np.ndarray],
    corrupted: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> Sets:
    """Every set that a model is scored on, from the images and labels of the splits `train`, `val` and `test`.

    The sets: training images as the model saw them (`own`, first) and clean; validation and test images, clean and
    corrupted.
    """
    sets = {f"train_{train_set}": own, "train_clean": clean["train"]}
    for split in ("val", "test"):
        sets |= {f"{split}_clean": clean[split], f"{split}_corrupted": corrupted[split]}
    return {name: (images, labels[name.split("_")[0]]) for name, images in sets.items()}


def outputs_of(model: Classifier, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 N×classes and features float32 N×D of uint8 images N×H×W×3."""
    logits, features = outputs(model, torch.from_numpy(images), batch_size)
    return logits.cpu().numpy(), features.cpu().numpy()


def flip_accuracy(
    model: Classifier, images: np.ndarray, logits: np.ndarray, labels: np.ndarray, section: Evaluate
) -> float | None:
    """Accuracy, in [0, 1], of the mean of each image's logits and those of its mirror image; None if turned off."""
    if not section.flip_test_time_augmentation:
        return None
    mirrored, _ = outputs_of(model, images[:, :, ::-1].copy(), section.batch_size)
    return accuracy(torch.from_numpy((logits + mirrored) / 2), torch.from_numpy(labels.astype(np.int64)))


@torch.no_grad()
def embeddings_of(model: Classifier, features: np.ndarray) -> np.ndarray | None:
    """The head's embeddings, float32 N×E, of features N×D; None for a head that has no embeddings.

    They are scored separately, because their angles can be larger: features of a ResNet come out of a ReLU and are
    never negative, so no two features are more than 90° apart.
    """
    embeddings = model.head.embeddings(torch.from_numpy(features).to(model.mean.device))
    return None if embeddings is None else embeddings.cpu().numpy()


def score_set(
    logits: np.ndarray, on_features: dict[str, np.ndarray | None], labels: np.ndarray, classes: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The main values of one set of images, and its details: values per class, predictions.

    `logits` are N×classes, `labels` N. `on_features` maps the name of another classifier to the labels, N, that it
    predicts from the features, or to None if it did not run.
    """
    predictions = logits.argmax(1)
    of_logits = torch.from_numpy(logits)
    loss = torch.nn.functional.cross_entropy(of_logits, torch.from_numpy(labels.astype(np.int64)))
    row: dict[str, Any] = {
        "accuracy": float((predictions == labels).mean()),
        "loss": loss.item(),
        "calibration_error": expected_calibration_error(of_logits.softmax(1).numpy(), labels),
        "images": len(labels),
    }
    details: dict[str, Any] = {"per_class": per_class(labels, predictions, classes)}
    details["predictions"] = to_text(predictions)
    for name, predicted in on_features.items():
        # A value of None keeps the keys of all rows the same.
        row[f"{name}_accuracy"] = None if predicted is None else float((predicted == labels).mean())
        if predicted is not None:
            details[f"{name}_predictions"] = to_text(predicted)
    return row, details


def per_class(labels: np.ndarray, predictions: np.ndarray, names: list[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 (all in [0, 1]) and number of images of each class; undefined values are 0."""
    from sklearn.metrics import precision_recall_fscore_support

    scores = precision_recall_fscore_support(labels, predictions, labels=range(len(names)), zero_division=0)
    return {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "images": int(images)}
        for name, precision, recall, f1, images in zip(names, *scores, strict=True)
    }


@matrices_on_one_thread()
def evaluate(
    model: Classifier,
    sets: Sets,
    reference: str,
    classes: list[str],
    section: Evaluate,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score every set, (images uint8 N×H×W×3, labels N). kNN and the probe are fitted on the set named `reference`.

    Sets of training images, with names that begin with "train", get no kNN and no probe. Returns the content of
    `evaluate.json` and the arrays to keep: logits of each set, features of the test sets and of `reference`.
    """
    images, known_labels = sets[reference]
    _, known = outputs_of(model, images, section.batch_size)
    probe = fit_probe(known, known_labels, section.probe_inverse_penalty)
    arrays = {
        "reference_features": known,
        "reference_labels": known_labels,
        "knn_neighbours": np.array(section.knn_neighbours),
    }
    rows, details, angles = [], {}, {}
    for name, (images, labels) in sets.items():
        logits, features = outputs_of(model, images, section.batch_size)
        on_features: dict[str, np.ndarray | None] = {"knn": None, "probe": None}
        if not name.startswith("train"):
            on_features["knn"] = knn_predictions(known, known_labels, features, section.knn_neighbours)
            on_features["probe"] = probe(features)
        row, details[name] = score_set(logits, on_features, labels, classes)
        row["flip_accuracy"] = flip_accuracy(model, images, logits, labels, section)
        rows.append({"set": name, **row})
        arrays[f"{name}_logits"] = logits
        if name.startswith("test"):
            arrays[f"{name}_features"] = compact(features)
            embeddings = embeddings_of(model, features)
            angles[name] = {
                "features": class_angles(features, labels),
                "embeddings": None if embeddings is None else class_angles(embeddings, labels),
            }
        print(f"{name:14s} {len(labels):6d} images  accuracy {row['accuracy']:.4f}", flush=True)
    return {"sets": rows, "angles": angles, "details": details}, arrays
