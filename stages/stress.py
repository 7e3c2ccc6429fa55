"""Stage `stress@LOSS-TRAINSET-SEED`: one model's accuracy under each corruption of the suite, at each severity.

Reads the model, the raw test images and `data/suite/`. Writes `stress.json`: one row per corruption and severity
(severity 0 is the same images, clean) and the predictions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness_study.classifier import device, storage
from robustness_study.core import params
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import IMAGES_DIGEST, WEIGHTS_DIGEST, Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest, content_digest, read_npz, write_record
from robustness_study.core.fits import refuse_beyond, refuse_images, refuse_shape
from robustness_study.core.program import run
from robustness_study.evaluation.stress import accuracy_row, predictions_of
from robustness_study.schema.suite import Suite

SEVERITIES = 5  # of each corruption


def main() -> None:
    """Score the model in float32, as in `evaluate`; apart from it, so that a new corruption re-runs no evaluation."""
    cell = Cell.from_arguments(__doc__)
    section = params.section("suite", Suite)
    model, notes = storage.load(cell.model, device.choose())
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    refuse_images("data/raw/test.npz", all_images, all_labels, notes)
    rows: list[dict[str, Any]] = []
    texts: dict[str, list[str]] = {}
    digests: dict[str, str] = {}
    chosen: np.ndarray | None = None
    for name in section.corruptions:
        copies, indices = read_npz(f"data/suite/{name}.npz", "images", "indices")
        path = f"data/suite/{name}.npz"
        if chosen is None:
            refuse_beyond(path, len(all_labels), indices)
            chosen, labels = indices, all_labels[indices]
            predictions = predictions_of(model, all_images[chosen])
            rows.append(accuracy_row("clean", 0, predictions, labels))
            texts["clean"] = [to_text(predictions)]
        if not np.array_equal(indices, chosen):
            raise StudyError(f"{path} is of other test images than the other files; run `dvc repro -f suite`")
        refuse_shape(path, images=(copies, (SEVERITIES, len(indices), *all_images.shape[1:])))
        digests[name] = array_digest(copies)
        by_severity = [predictions_of(model, images) for images in copies]
        rows += [accuracy_row(name, severity, found, labels) for severity, found in enumerate(by_severity, start=1)]
        texts[name] = [to_text(found) for found in by_severity]
        shown = " ".join(f"{row['accuracy']:.3f}" for row in rows[-len(by_severity) :])
        print(f"{name:18s} {shown}  of {len(chosen)} images", flush=True)
    assert chosen is not None  # the suite has at least one corruption
    write_record(
        cell.result("stress.json"),
        {
            "model": cell.key,
            WEIGHTS_DIGEST: notes[WEIGHTS_DIGEST],
            IMAGES_DIGEST: content_digest(digests),
            "computed_with": device.describe(model.mean.device),
            "images": len(chosen),
            "rows": rows,
            "test_indices": to_text(chosen),
            "labels": to_text(labels),
            "predictions": texts,
        },
    )


if __name__ == "__main__":
    run(main)
