"""Stage `attack@LOSS-TRAINSET-SEED`: one model's accuracy under the fast gradient sign method and other attacks.

Reads the model, the raw test images and `data/evaluated/KEY.npz`. Writes `attack.json` (accuracy for each epsilon,
predictions under each attack, accepted alarms, how far features moved), `data/attacked/KEY.npz` (the gradient's signs,
for `transfer`; features, for `embed`; confidences, for `report`) and a picture of test images.
"""

from __future__ import annotations

from robustness_study.attacks import catalogue, one_model
from robustness_study.attacks.subject import ModelUnderAttack, Neighbours
from robustness_study.classifier import device, storage
from robustness_study.classifier.reduced import Reduced
from robustness_study.core import params
from robustness_study.core.cell import CONFIDENCES_DIGEST, IMAGES_DIGEST, WEIGHTS_DIGEST, Cell
from robustness_study.core.files import array_digest, read_npz, write_npz, write_record
from robustness_study.core.fits import refuse_images, refuse_shape
from robustness_study.core.program import run
from robustness_study.schema.attack import Attack

EVALUATED = ("test_clean_logits", "test_clean_features", "reference_features", "reference_labels", "knn_neighbours")


def main() -> None:
    """Attack the recipe's share of `attack.images` clean test images: stratified, the same for every model.

    `attack.attacks` sets which other attacks run. An alarm that `attack.accept` does not name ends the stage.
    """
    from robustness_study.attacks.example_grid import draw

    cell = Cell.from_arguments(__doc__)
    section = params.section("attack", Attack).with_share(params.of_recipe("evidence_share"))
    on = device.choose()
    model, notes = storage.load(cell.model, on)
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    clean_logits, clean_features, features, known_labels, neighbours, weights = read_npz(
        cell.evaluated, *EVALUATED, WEIGHTS_DIGEST
    )
    cell.refuse_other_model(cell.evaluated, weights, notes[WEIGHTS_DIGEST])
    count, width = len(all_images), features.shape[1]
    refuse_images("data/raw/test.npz", all_images, all_labels, notes)
    refuse_shape(
        cell.evaluated,
        test_clean_logits=(clean_logits, (count, len(notes["classes"]))),
        test_clean_features=(clean_features, (count, width)),
        reference_features=(features, (len(known_labels), width)),
        knn_neighbours=(neighbours, ()),
    )
    target = one_model.target_of(all_images, all_labels, section.images, section.seed, on)
    known = Neighbours(model, features, known_labels, int(neighbours))
    clean, guide = clean_logits[target.indices].argmax(1), Reduced(model, "bfloat16", notes["network"])
    subject = ModelUnderAttack(model, target, section, clean, known, guide)
    epsilon, settings = section.example_epsilon_255, catalogue.settings_of(section)
    one_model.attack(subject, settings, section.accept, notes.get("val_pgd_accuracy", []))
    draw(f"reports/examples/{cell.key}.png", subject, section.examples, epsilon, notes["classes"])
    arrays = one_model.arrays(subject, model, epsilon)
    write_npz(cell.attacked, **arrays, **{WEIGHTS_DIGEST: weights})
    write_record(
        cell.result("attack.json"),
        {
            "model": cell.key,
            WEIGHTS_DIGEST: notes[WEIGHTS_DIGEST],
            IMAGES_DIGEST: array_digest(all_images, all_labels),
            CONFIDENCES_DIGEST: array_digest(arrays["confidences"]),
            "attack": "fast gradient sign",
            "computed_with": device.describe(on) | {"precision_of_searches": guide.precision},
            **one_model.as_json(subject),
            "moved_epsilon_255": epsilon,
            "moved_degrees": one_model.moved_degrees(clean_features[target.indices], arrays["features"]),
        },
    )


if __name__ == "__main__":
    run(main)
