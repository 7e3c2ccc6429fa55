"""Stage `attack@LOSS-TRAINSET-SEED`: a model → its accuracy under the fast gradient sign method.

On a declared, stratified number of clean test images, the same for every model. Out: `attack.json`
(accuracy per epsilon, among all images and among those right when clean, also after rounding to 8 bits, with
per-image predictions) and `reports/examples/KEY.png`, cached because it shows the dataset's images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.lib import device, model_files, params
from stages.lib.attacks import fast_gradient_sign, refuse_masked_gradients, zero_gradients
from stages.lib.cells import Cell, to_text
from stages.lib.errors import StudyError, run
from stages.lib.files import read_npz, write_json
from stages.lib.inference import to_float
from stages.lib.model import Classifier
from stages.lib.schema.attack import Attack
from stages.lib.subsets import stratified


def predict(model: Classifier, images: Tensor) -> np.ndarray:
    """Predicted labels of float32 images in [0, 1], N×3×H×W."""
    with torch.no_grad():
        return model(images).argmax(1).cpu().numpy()


def attack(model: Classifier, images: Tensor, labels: Tensor, section: Attack) -> dict[int, dict[str, np.ndarray]]:
    """Per epsilon, the predictions on the attacked images and on those rounded to 8 bits.

    `images` uint8 N×H×W×3 and `labels` int64 N, on the model's device. Raises StudyError when more
    than 1 % of the input gradients are zero, or epsilon 0 does not give the clean predictions.
    """
    batches = [slice(start, start + section.batch_size) for start in range(0, len(images), section.batch_size)]
    zero = sum(zero_gradients(model, to_float(images[batch]), labels[batch]) for batch in batches)
    refuse_masked_gradients(zero, len(images))
    clean = np.concatenate([predict(model, to_float(images[batch])) for batch in batches])
    ladder = {}
    for epsilon_255 in section.epsilons_255:
        exact, rounded = [], []
        for batch in batches:
            attacked = fast_gradient_sign(model, to_float(images[batch]), labels[batch], epsilon_255)
            exact.append(predict(model, attacked))
            rounded.append(predict(model, torch.round(attacked * 255) / 255))
        ladder[epsilon_255] = {"exact": np.concatenate(exact), "rounded": np.concatenate(rounded)}
        right = (ladder[epsilon_255]["exact"] == labels.cpu().numpy()).mean()
        print(f"epsilon {epsilon_255:3d}/255  accuracy {right:.4f} on {len(images)} images", flush=True)
    if not np.array_equal(ladder[0]["exact"], clean):
        raise StudyError("attack: predictions at epsilon 0 are not the clean ones; the model is not deterministic")
    return ladder


def summarise(ladder: dict[int, dict[str, np.ndarray]], labels: np.ndarray) -> list[dict[str, Any]]:
    """A row per epsilon; robust means right before and after the attack."""
    was_right = ladder[0]["exact"] == labels
    rows = []
    for epsilon_255, predictions in ladder.items():
        right = predictions["exact"] == labels
        kept = float((right & was_right).sum() / was_right.sum()) if was_right.any() else None
        rows.append(
            {
                "epsilon_255": epsilon_255,
                "accuracy": float(right.mean()),
                "accuracy_of_clean_correct": kept,
                "accuracy_8_bit": float((predictions["rounded"] == labels).mean()),
            }
        )
    return rows


def main() -> None:
    from stages.lib.example_figure import attack_examples

    cell = Cell.from_arguments(__doc__)
    section = params.section("attack", Attack)
    on = device.choose()
    model, notes = model_files.load(cell.model, on)
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    chosen = stratified(all_labels, section.images, section.seed, "attack")
    images = torch.from_numpy(all_images[chosen]).to(on)
    labels = torch.from_numpy(all_labels[chosen].astype(np.int64)).to(on)
    ladder = attack(model, images, labels, section)
    rows = summarise(ladder, all_labels[chosen])
    spread = stratified(all_labels[chosen], section.examples, section.seed, "examples")
    clean = to_float(images[spread])
    attacked = fast_gradient_sign(model, clean, labels[spread], section.example_epsilon_255)
    predictions = (predict(model, clean), predict(model, attacked))
    attack_examples(
        f"reports/examples/{cell.key}.png",
        clean.cpu().numpy(),
        attacked.cpu().numpy(),
        all_labels[chosen][spread],
        predictions,
        notes["classes"],
        section.example_epsilon_255,
    )
    texts = {str(epsilon): to_text(predictions["exact"]) for epsilon, predictions in ladder.items()}
    result = {
        "model": cell.key,
        "attack": "fast gradient sign",
        "computed_with": device.describe(on),
        "images": len(chosen),
        "ladder": rows,
    }
    write_json(
        cell.result("attack.json"),
        {**result, "test_indices": to_text(chosen), "labels": to_text(all_labels[chosen]), "predictions": texts},
    )


if __name__ == "__main__":
    run(main)
