"""The UMAP planes: points of test images, clean, corrupted and attacked, with the image behind each point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustness_study.core.subsets import stratified
from robustness_study.webpage.packed import packed, sheet, thumbnails
from robustness_study.webpage.shown import Shown

MOST_POINTS = 1000
SIDE = 32  # pixels; images are shown at most so wide
STEPS = 65535  # places along each side of a plane


def content(images: np.ndarray, labels: np.ndarray, models: Sequence[Shown]) -> dict[str, Any]:
    """The planes of all models that have one, with the same points. `images`, uint8 N×S×S×3, and `labels`, N: all.

    The points are those of attacked images, as far as the plane has them: at most `MOST_POINTS`, classes in proportion.
    """
    planes = [(model, model.plane) for model in models if model.plane is not None]
    attacked = planes[0][1]["attacked_indices"] if planes else np.array([], dtype=np.int32)
    if not len(attacked):
        return {"count": 0, "drawn": len(planes)}
    chosen = attacked[stratified(labels[attacked], MOST_POINTS, 0, "points")]
    return {
        "count": len(chosen),
        "labels": packed(labels[chosen].astype(np.uint16)),
        "indices": packed(chosen.astype(np.uint32)),
        "sheet": sheet(thumbnails(images[chosen], SIDE)),
        "drawn": len(planes),
        "names": [model.name for model, _ in planes],
        "models": [_of_model(model, plane, chosen) for model, plane in planes],
    }


def _of_model(model: Shown, plane: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, Any]:
    notes = model.result.plane
    assert notes is not None, "a plane has its measures beside it"
    places = {
        "clean": plane["clean_taken"][np.searchsorted(plane["test_indices"], chosen)],
        "corrupted": plane["corrupted"][np.searchsorted(plane["test_indices"], chosen)],
        "attacked": plane["attacked"][np.searchsorted(plane["attacked_indices"], chosen)],
    }
    every = np.concatenate(list(places.values()))
    wide = np.ptp(every, axis=0).max() or 1.0  # of the longer side: one scale for both
    low = (every.min(0) + every.max(0) - wide) / 2
    attacked = np.searchsorted(model.attacked["test_indices"], chosen)
    said = {
        "clean": model.result.predictions("test_clean")[1][chosen],
        "corrupted": model.result.predictions("test_corrupted")[1][chosen],
        "attacked": model.result.attacked("fgsm", notes["epsilon_255"])[1][attacked],
    }
    return {
        "epsilon_255": notes["epsilon_255"],
        "measures": {row["measure"].replace("_", " "): row["value"] for row in notes["measures"]},
        "places": {name: packed(np.rint((at - low) / wide * STEPS).astype(np.uint16)) for name, at in places.items()},
        "said": {name: packed(labels.astype(np.uint16)) for name, labels in said.items()},
    }
