"""Scores one model on sets of images: with its own classifier, and with kNN and a linear probe on its features.

Test images are scored in float32, so that the accuracies equal those of the stage `attack` at epsilon 0. Training and
validation images may be scored by a faster model (classifier/reduced.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from robustness_study.classifier.inference import Scored, accuracy, outputs
from robustness_study.classifier.model import Classifier
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import FITTED_ON, NATURAL, Cell, split_of
from robustness_study.core.subsets import count_of, stratified
from robustness_study.core.threads import matrices_on_one_thread
from robustness_study.evaluation.angles import class_angles
from robustness_study.evaluation.calibration import (
    calibration_error_at,
    expected_calibration_error,
    fit_temperature,
    loss_at,
)
from robustness_study.evaluation.neighbours import compact, knn_predictions
from robustness_study.evaluation.probe import fit_probe
from robustness_study.schema.evaluate import Evaluate

Sets = dict[str, tuple[np.ndarray, np.ndarray]]  # name → images uint8 N×H×W×3 and labels N
SPLITS = {"train": "train", "val": "train", "test": "test"}  # split → the raw images that it is a part of


def sets_of(
    cell: Cell,
    own: np.ndarray,
    clean: Mapping[str, np.ndarray],
    corrupted: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    indices: Mapping[str, np.ndarray],
    share: float = 1.0,
) -> Sets:
    """Every set that a model is scored on, natural sets excepted.

    `clean`, `corrupted` and `labels` hold the raw images `train` and `test`, their corrupted copies and their labels;
    `own` are the images of the model's training set, in the order of the raw ones; `indices` are those of the splits
    `train`, `val` and `test`. The sets: training images as the model saw them (first) and clean; test images and a
    `share` of the validation images, with classes in proportion, clean and corrupted.
    """
    val = indices["val"]
    some = stratified(labels["train"][val], count_of(share, len(val)), cell.seed, "scored", "val")
    indices = {**indices, "val": val[some]}
    of = {f"train_{cell.train_set}": own, "train_clean": clean["train"]}
    for split in ("val", "test"):
        of |= {f"{split}_clean": clean[SPLITS[split]], f"{split}_corrupted": corrupted[SPLITS[split]]}
    return {
        name: (images[indices[split]], labels[SPLITS[split]][indices[split]])
        for name, images in of.items()
        for split in [split_of(name)]
    }


def outputs_of(model: Scored, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 N×classes and features float32 N×D of uint8 images N×H×W×3."""
    logits, features = outputs(model, torch.from_numpy(images), batch_size)
    return logits.cpu().numpy(), features.cpu().numpy()


def flip_accuracy(
    model: Scored, images: np.ndarray, logits: np.ndarray, labels: np.ndarray, section: Evaluate
) -> float | None:
    """Accuracy, in [0, 1], of the mean of each image's logits and those of its mirror image; None if turned off."""
    if not section.flip_test_time_augmentation:
        return None
    mirrored, _ = outputs_of(model, images[:, :, ::-1].copy(), section.batch_size)
    return accuracy(torch.from_numpy((logits + mirrored) / 2), torch.from_numpy(labels.astype(np.int64)))


@torch.no_grad()
def embeddings_of(model: Scored, features: np.ndarray) -> np.ndarray | None:
    """The head's embeddings, float32 N×E, of features N×D; None for a model or a head that has no embeddings.

    They are scored separately, because their angles can be larger: features of a ResNet come out of a ReLU and are
    never negative, so no two features are more than 90° apart.
    """
    if not isinstance(model, Classifier):
        return None
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


def scaled(logits: np.ndarray, labels: np.ndarray, temperature: float | None) -> dict[str, float | None]:
    """The values of one set of images that depend on the temperature; `logits` are N×classes, `labels` N.

    They are None without a temperature.
    """
    if temperature is None:
        return {"loss_scaled": None, "calibration_error_scaled": None}
    return {
        "loss_scaled": loss_at(logits, labels, temperature),
        "calibration_error_scaled": calibration_error_at(logits, labels, temperature),
    }


def per_class(labels: np.ndarray, predictions: np.ndarray, names: list[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 (all in [0, 1]) and number of images of each class; undefined values are 0."""
    from sklearn.metrics import precision_recall_fscore_support

    scores = precision_recall_fscore_support(labels, predictions, labels=range(len(names)), zero_division=0)
    return {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "images": int(images)}
        for name, precision, recall, f1, images in zip(names, *scores, strict=True)
    }


OnFeatures = Callable[[np.ndarray], dict[str, np.ndarray]]  # features N×D → name of a classifier → its labels, N


def fitted(known: np.ndarray, known_labels: np.ndarray, section: Evaluate) -> tuple[OnFeatures, dict[str, np.ndarray]]:
    """The classifiers on the features, fitted on features N×D of known images, and the arrays that `attack` needs."""
    probe = fit_probe(known, known_labels, section.probe_inverse_penalty)
    arrays = {
        "reference_features": known,
        "reference_labels": known_labels,
        "knn_neighbours": np.array(section.knn_neighbours),
    }

    def on_features(features: np.ndarray) -> dict[str, np.ndarray]:
        nearest = knn_predictions(known, known_labels, features, section.knn_neighbours)
        return {"knn": nearest, "probe": probe(features)}

    return on_features, arrays


@matrices_on_one_thread()
def evaluate(
    model: Scored,
    sets: Sets,
    reference: str | None,
    classes: list[str],
    section: Evaluate,
    reduced: Scored | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score every set, (images uint8 N×H×W×3, labels N). kNN and the probe are fitted on the set named `reference`.

    `reduced` is the same model, less exact and faster, for sets of training and validation images.

    Sets of training images, with names that begin with "train", get no kNN and no probe. The temperature is fitted on
    the set `val_clean`. A model from elsewhere has neither set: `reference` is None, and there is no temperature. Its
    features may be missing too, N×0.

    Returns the content of `evaluate.json` and the arrays to keep: logits of each set, features of the test sets and of
    `reference`. Nothing is kept of natural sets, so that these re-run no attack.
    """

    def model_of(name: str) -> Scored:
        return reduced if reduced is not None and name.startswith(("train", "val")) else model

    others: OnFeatures | None = None
    arrays: dict[str, np.ndarray] = {}
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # logits and features of the reference: computed only once
    if reference is not None:
        images, labels = sets[reference]
        known[reference] = outputs_of(model_of(reference), images, section.batch_size)
        others, arrays = fitted(known[reference][1], labels, section)
    rows, details, angles = [], {}, {}
    logits_of: dict[str, np.ndarray] = {}
    for name, (images, labels) in sets.items():
        logits, features = known.get(name) or outputs_of(model_of(name), images, section.batch_size)
        on_features: dict[str, np.ndarray | None] = {"knn": None, "probe": None}
        if others is not None and not name.startswith("train"):
            on_features |= others(features)
        row, details[name] = score_set(logits, on_features, labels, classes)
        row["flip_accuracy"] = flip_accuracy(model_of(name), images, logits, labels, section)
        rows.append({"set": name, **row})
        logits_of[name] = logits
        if not name.startswith(NATURAL):
            arrays[f"{name}_logits"] = logits
        if name.startswith("test") and features.shape[1]:
            arrays[f"{name}_features"] = compact(features)
            embeddings = embeddings_of(model, features)
            angles[name] = {
                "features": class_angles(features, labels),
                "embeddings": None if embeddings is None else class_angles(embeddings, labels),
            }
        print(f"{name:14s} {len(labels):6d} images  accuracy {row['accuracy']:.4f}", flush=True)
    temperature = fit_temperature(logits_of[FITTED_ON], sets[FITTED_ON][1]) if FITTED_ON in sets else None
    for row in rows:
        row |= scaled(logits_of[row["set"]], sets[row["set"]][1], temperature)
    texts = {split_of(name): to_text(labels) for name, (_, labels) in sets.items()}
    results = {"temperature": temperature, "sets": rows, "angles": angles, "details": details, "labels": texts}
    return results, arrays
