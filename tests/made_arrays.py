"""The images and arrays in `data/` of the study that made_cells.py writes: what the stage `report` reads there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_cells import (
    ATTACKED,
    ATTACKED_INDICES,
    CELLS,
    FIRST_SEED,
    STRESSED,
    STRESSED_INDICES,
    SUITE,
    change_result,
    labels_of,
    predictions_of,
    weights,
)

from robustness_study.core.cell import CONFIDENCES_DIGEST, IMAGES_DIGEST, WEIGHTS_DIGEST, Cell
from robustness_study.core.files import array_digest, content_digest, read_npz, write_npz

SIDE, COUNT = 8, 50
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
COPIES = {name: RNG.integers(0, 256, (5, STRESSED, SIDE, SIDE, 3)).astype(np.uint8) for name in SUITE}
SIGNS = {cell: RNG.integers(-1, 2, (ATTACKED, 3, SIDE, SIDE)).astype(np.int8) for cell in FIRST_SEED}
CONFIDENCES = {cell: RNG.uniform(0.5, 1, (4, ATTACKED)).astype(np.float16) for cell in FIRST_SEED}
OF_STRESS = {cell: RNG.uniform(0.5, 1, (len(SUITE), 5, STRESSED)).astype(np.float16) for cell in FIRST_SEED}
CLEAN_LOGIT = 2.0  # of the predicted class; that of the other one is 0


def logits(predicted: np.ndarray) -> np.ndarray:
    """Logits, float32 N×2, of predictions 0 or 1."""
    return (CLEAN_LOGIT * np.eye(2)[predicted]).astype(np.float32)


def write_arrays() -> None:
    """Writes all of it into the working folder."""
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    write_npz("data/raw/test.npz", images=IMAGES, labels=labels_of("test_clean").astype(np.uint8))
    for name, copies in COPIES.items():
        write_npz(f"data/suite/{name}.npz", images=copies, indices=STRESSED_INDICES)
    of_images = {IMAGES_DIGEST: array_digest(*read_npz("data/raw/test.npz", "images", "labels"))}
    of_copies = {IMAGES_DIGEST: content_digest({name: array_digest(copies) for name, copies in COPIES.items()})}
    for cell in CELLS:  # the results are of these images
        for name, digest in (("evaluate", of_images), ("attack", of_images), ("stress", of_copies)):
            change_result(cell, f"{name}.json", **digest)
    for cell in FIRST_SEED:
        write_arrays_of(cell)


def write_arrays_of(cell: Cell) -> None:
    digest = {WEIGHTS_DIGEST: np.array(weights(cell))}
    sets = {f"test_{test}_logits": logits(predictions_of(cell, f"test_{test}")) for test in ("clean", "corrupted")}
    write_npz(cell.evaluated, **sets, **digest)
    write_npz(
        cell.attacked,
        test_indices=ATTACKED_INDICES,
        signs=SIGNS[cell],
        confidence_epsilons_255=np.array([1, 2, 4, 8]),
        confidences=CONFIDENCES[cell],
        **digest,
    )
    of_clean = np.full((1, STRESSED), 0.5, np.float16)
    write_npz(cell.stressed, clean=of_clean, **dict(zip(SUITE, OF_STRESS[cell], strict=True)), **digest)
    of_attack = {CONFIDENCES_DIGEST: array_digest(CONFIDENCES[cell])}
    of_stress = {CONFIDENCES_DIGEST: array_digest(of_clean, *OF_STRESS[cell])}
    change_result(cell, "attack.json", **of_attack)
    change_result(cell, "stress.json", **of_stress)
    places = np.random.default_rng(1).normal(size=(3, COUNT, 2))
    write_npz(
        cell.embedded,
        clean_taken=places[0],
        corrupted=places[1],
        attacked=places[2, :ATTACKED],
        test_indices=np.arange(COUNT),
        attacked_indices=ATTACKED_INDICES,
        **digest,
    )
