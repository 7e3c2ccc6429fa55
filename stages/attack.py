"""Stage `attack@LOSS-TRAINSET-SEED`: a model → its accuracy under the fast gradient sign method and beside it.

On declared, stratified numbers of clean test images, the same for every model; stages/lib/attacks/battery.py says
which attacks. It ends where an alarm says that a figure would not be sound, unless params accept that alarm by name.
Out: `attack.json` (accuracy per epsilon, among all images and among those right when clean, also after rounding to 8
bits; per-image predictions under every attack; alarms accepted); `reports/attacked/KEY.json`, which stands for
`data/attacked/KEY.npz`, cached: the gradient's signs, for `transfer`, and features of attacked images, for `embed`;
and `reports/examples/KEY.png`, cached because it shows the dataset's images.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.lib import device, model_files, params
from stages.lib.attacks import alarms
from stages.lib.attacks.battery import Battery, ByEpsilon, Target, in_batches, predict
from stages.lib.attacks.signs import step
from stages.lib.attacks.stand_in import SoftNeighbours
from stages.lib.cells import Cell, from_text, to_text
from stages.lib.errors import run
from stages.lib.files import read_npz, write_json, write_npz
from stages.lib.inference import to_float
from stages.lib.model import Classifier
from stages.lib.neighbours import knn_predictions
from stages.lib.schema.attack import Attack
from stages.lib.subsets import stratified


def attack_neighbours(
    model: Classifier, battery: Battery, positions: np.ndarray, known: tuple[np.ndarray, np.ndarray], neighbours: int
) -> tuple[ByEpsilon, float]:
    """What the nearest neighbours predict of images that their soft stand-in was attacked with.

    `known` are features M×512 and labels M that neighbours are sought among. Beside the predictions: how often the
    two agree on clean images.
    """
    target = battery.target.of(positions)
    reference, labels = (torch.from_numpy(array).to(battery.device) for array in known)
    stand_in = SoftNeighbours(model, reference, labels.long(), int(labels.max()) + 1)
    signs = battery.signs_of(stand_in, target)
    found = {}
    for epsilon in battery.section.epsilons_255:
        features = features_of(model, step(target.images, signs, epsilon), battery.section.batch_size)
        found[epsilon] = knn_predictions(*known, features, neighbours)
    agreement = (predict(stand_in, target.images, battery.section.batch_size) == found[0]).mean()
    return found, float(agreement)


@torch.no_grad()
def features_of(model: Classifier, images: Tensor, batch_size: int) -> np.ndarray:
    """Features float32 N×512 of float32 images in [0, 1], N×3×H×W."""
    return in_batches(model.features, batch_size, images).cpu().numpy()


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


def as_texts(predictions: ByEpsilon) -> dict[str, str]:
    """Predictions by epsilon, for JSON."""
    return {str(epsilon): to_text(predicted) for epsilon, predicted in predictions.items()}


def beside(positions: np.ndarray, predictions: ByEpsilon, **settings: Any) -> dict[str, Any]:
    """An attack beside the first: on which of its images, and what is predicted."""
    return {
        **settings,
        "images": len(positions),
        "positions": to_text(positions),
        "predictions": as_texts(predictions),
    }


def main() -> None:
    from stages.lib.example_figure import attack_examples

    cell = Cell.from_arguments(__doc__)
    section = params.section("attack", Attack)
    on = device.choose()
    model, notes = model_files.load(cell.model, on)
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    *known, neighbours = read_npz(
        f"data/evaluated/{cell.key}.npz", "reference_features", "reference_labels", "knn_neighbours"
    )
    chosen = stratified(all_labels, section.images, section.seed, "attack")
    labels = all_labels[chosen]
    target = Target(
        to_float(torch.from_numpy(all_images[chosen]).to(on)), torch.from_numpy(labels.astype(np.int64)).to(on), chosen
    )
    battery = Battery(model, target, section)
    signs, exact, rounded = battery.fast_gradient_sign(chance=1 / len(notes["classes"]))
    rows = summarise(exact, rounded, labels)
    for row in rows:
        print(f"epsilon {row['epsilon_255']:3d}/255  accuracy {row['accuracy']:.4f} of {len(chosen)}", flush=True)
    noise = battery.noise(exact)
    control = battery.chosen(section.control_images, "control")
    rescaled = battery.rescaled(exact, control)
    of_pgd = battery.chosen(section.pgd.images, "pgd")
    pgd = battery.pgd(exact, of_pgd)
    of_square = battery.chosen(section.square.images, "square", of_pgd)
    squared = battery.square(pgd, of_pgd, of_square)
    knn, agreement = attack_neighbours(model, battery, control, (known[0], known[1]), int(neighbours))
    others = {
        "noise": beside(np.arange(len(chosen)), noise),
        "pgd": beside(of_pgd, pgd, steps=section.pgd.steps, restarts=section.pgd.restarts),
        "square": beside(of_square, squared, queries=section.square.queries),
        "knn_fgsm": beside(control, knn, neighbours=int(neighbours), stand_in_agrees=agreement),
        **{f"fgsm_of_logits_x{factor}": beside(control, found) for factor, found in rescaled.items()},
    }
    for name, found in others.items():
        right = {
            epsilon: (from_text(text) == labels[from_text(found["positions"])]).mean()
            for epsilon, text in found["predictions"].items()
        }
        print(f"{name:20s} " + "  ".join(f"{epsilon}: {share:.3f}" for epsilon, share in right.items()), flush=True)
    taken = alarms.accepted(battery.alarms, section.accept)
    epsilon = section.example_epsilon_255
    attacked = step(target.images, signs, epsilon)
    spread = stratified(labels, section.examples, section.seed, "examples")
    attack_examples(
        f"reports/examples/{cell.key}.png",
        target.images[spread].cpu().numpy(),
        attacked[spread].cpu().numpy(),
        labels[spread],
        (exact[0][spread], predict(model, attacked[spread], section.batch_size)),
        notes["classes"],
        epsilon,
    )
    arrays = {
        "test_indices": chosen.astype(np.int32),
        "signs": signs.cpu().numpy(),
        "features": features_of(model, attacked, section.batch_size).astype(np.float16),
        "epsilon_255": np.array(epsilon),
    }
    write_npz(f"data/attacked/{cell.key}.npz", **arrays)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    write_json(f"reports/attacked/{cell.key}.json", {"model": cell.key, "sha256": digest})
    write_json(
        cell.result("attack.json"),
        {
            "model": cell.key,
            "attack": "fast gradient sign",
            "computed_with": device.describe(on),
            "images": len(chosen),
            "ladder": rows,
            "test_indices": to_text(chosen),
            "labels": to_text(labels),
            "predictions": as_texts(exact),
            "beside": others,
            "alarms": alarms.by_name(taken),
        },
    )


if __name__ == "__main__":
    run(main)
