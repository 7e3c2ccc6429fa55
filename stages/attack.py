"""Stage `attack@LOSS-TRAINSET-SEED`: a model → its accuracy under the fast gradient sign method and beside it.

On declared, stratified numbers of clean test images, the same for every model; robustness_study/attacks/battery.py says
which attacks. It ends where an alarm says that a figure would not be sound, unless params accept that alarm by name.
Out: `attack.json` (accuracy per epsilon, among all images and among those right when clean, also after rounding to 8
bits; per-image predictions under every attack; alarms accepted); `data/attacked/KEY.npz`, cached: the gradient's signs,
for `transfer`, and features of attacked images, for `embed`; `reports/attacked/SEED/KEY.json`, in git, which says what
that file is and how far the features moved; `reports/examples/KEY.png`, cached as it shows the dataset's images.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks import alarms
from robustness_study.attacks.battery import Battery
from robustness_study.attacks.scoring import ByEpsilon, Found, Target, features_of
from robustness_study.attacks.signs import step
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import run
from robustness_study.core.files import read_npz, write_json, write_npz
from robustness_study.core.subsets import stratified
from robustness_study.evaluation.angles import angles_between
from robustness_study.schema.attack import Attack

PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class Attacks:
    """What came of them: the gradient's signs, each attack's predictions, the alarms that were accepted."""

    signs: Tensor
    found: dict[str, Found]
    alarms: list[alarms.Alarm]


def summarise(exact: ByEpsilon, rounded: ByEpsilon, labels: np.ndarray) -> list[dict[str, Any]]:
    """A row per epsilon; robust means right before and after the attack."""
    was_right = exact[0] == labels
    rows = []
    for epsilon_255, predictions in exact.items():
        right = predictions == labels
        kept = float((right & was_right).sum() / was_right.sum()) if was_right.any() else None
        rows.append(
            {
                "epsilon_255": epsilon_255,
                "accuracy": float(right.mean()),
                "accuracy_of_clean_correct": kept,
                "accuracy_8_bit": float((rounded[epsilon_255] == labels).mean()),
            }
        )
    return rows


def moved(before: np.ndarray, after: np.ndarray) -> list[dict[str, Any]]:
    """How far features N×D moved: a row per percentile of the angles between before and after."""
    angles = np.percentile(angles_between(before, after), PERCENTILES)
    return [
        {"percentile": percentile, "moved_degrees": round(float(angle), 2)}
        for percentile, angle in zip(PERCENTILES, angles, strict=True)
    ]


def as_texts(predictions: ByEpsilon) -> dict[str, str]:
    """Predictions by epsilon, for JSON."""
    return {str(epsilon): to_text(predicted) for epsilon, predicted in predictions.items()}


def as_json(found: Found) -> dict[str, Any]:
    """What one attack found, for JSON."""
    return {
        **found.settings,
        "images": len(found.positions),
        "positions": to_text(found.positions),
        "predictions": as_texts(found.predictions),
    }


def attack(battery: Battery, model: Classifier, known: tuple[np.ndarray, np.ndarray], neighbours: int) -> Attacks:
    """Every attack, with a line printed for each; StudyError where an alarm is due that is not accepted."""
    section = battery.section
    signs, fgsm, rounded = battery.fast_gradient_sign()
    control = battery.chosen(section.control_images, "control")
    found = {"fgsm": fgsm, "fgsm_8_bit": rounded, "noise": battery.noise(fgsm.predictions, control)}
    say(found, battery.labels)
    others = battery.rescaled(fgsm.predictions, control) | battery.pgd(fgsm.predictions)
    others["square"] = battery.square(others["pgd"])
    others["knn_fgsm"] = battery.neighbours(model, signs, control, known, neighbours)
    say(others, battery.labels)
    return Attacks(signs, found | others, alarms.accepted(battery.alarms, section.accept))


def say(found: dict[str, Found], labels: np.ndarray) -> None:
    """Print the accuracy under attacks, by epsilon."""
    for name, attacked in found.items():
        right = labels[attacked.positions]
        shares = (f"{epsilon}: {(said == right).mean():.3f}" for epsilon, said in attacked.predictions.items())
        print(f"{name:20s} of {len(right):5d} images, by epsilon  {'  '.join(shares)}", flush=True)


def main() -> None:
    from robustness_study.attacks.example_grid import attack_examples

    cell = Cell.from_arguments(__doc__)
    section = params.section("attack", Attack)
    on = device.choose()
    model, notes = storage.load(cell.model, on)
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    clean_logits, clean_features, features, known_labels, neighbours = read_npz(
        f"data/evaluated/{cell.key}.npz",
        "test_clean_logits",
        "test_clean_features",
        "reference_features",
        "reference_labels",
        "knn_neighbours",
    )
    chosen = stratified(all_labels, section.images, section.seed, "attack")
    labels = all_labels[chosen]
    images = to_float(torch.from_numpy(all_images[chosen]).to(on))
    target = Target(images, torch.from_numpy(labels.astype(np.int64)).to(on), chosen)
    battery = Battery(model, target, section, clean_logits[chosen].argmax(1))
    done = attack(battery, model, (features, known_labels), int(neighbours))
    fgsm, epsilon = done.found["fgsm"], section.example_epsilon_255
    attacked = step(images, done.signs, epsilon)
    shown = stratified(labels, section.examples, section.seed, "examples")
    attack_examples(
        f"reports/examples/{cell.key}.png",
        images[shown].cpu().numpy(),
        attacked[shown].cpu().numpy(),
        labels[shown],
        (fgsm.predictions[0][shown], fgsm.predictions[epsilon][shown]),
        notes["classes"],
        epsilon,
    )
    arrays = {
        "test_indices": chosen.astype(np.int32),
        "signs": done.signs.cpu().numpy(),
        "features": features_of(model, attacked, section.batch_size).astype(np.float16),
        "epsilon_255": np.array(epsilon),
    }
    write_npz(f"data/attacked/{cell.key}.npz", **arrays)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    write_json(
        f"reports/attacked/{cell.seed}/{cell.key}.json",
        {
            "model": cell.key,
            "epsilon_255": epsilon,
            "images": len(chosen),
            "sha256": digest,
            "moved": moved(clean_features[chosen], arrays["features"]),
        },
    )
    write_json(
        cell.result("attack.json"),
        {
            "model": cell.key,
            "attack": "fast gradient sign",
            "computed_with": device.describe(on),
            "images": len(chosen),
            "ladder": summarise(fgsm.predictions, done.found["fgsm_8_bit"].predictions, labels),
            "test_indices": to_text(chosen),
            "labels": to_text(labels),
            "attacks": {name: as_json(found) for name, found in done.found.items()},
            "alarms": alarms.by_name(done.alarms),
        },
    )


if __name__ == "__main__":
    run(main)
