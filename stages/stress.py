"""Stage `stress@LOSS-TRAINSET-SEED`: one model's accuracy and calibration under each corruption, at each severity.

Reads the model, its temperature, the raw test images and `data/suite/`. Writes `stress.json`: one row per corruption
and severity (severity 0 is the same images, clean) and the predictions. Writes `data/stressed/KEY.npz`: how confident
each prediction was, for the report.
"""

from __future__ import annotations

import numpy as np

from robustness_study.classifier import device, storage
from robustness_study.classifier.reduced import Reduced
from robustness_study.core import params
from robustness_study.core.array_text import to_text
from robustness_study.core.cell import CONFIDENCES_DIGEST, IMAGES_DIGEST, TEMPERATURE, WEIGHTS_DIGEST, Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest, content_digest, read_npz, read_record, write_npz, write_record
from robustness_study.core.fits import refuse_beyond, refuse_images, refuse_shape
from robustness_study.core.program import run
from robustness_study.evaluation.stress import score
from robustness_study.schema.suite import Suite

SEVERITIES = 5  # of each corruption


def main() -> None:
    """Score the model in the precision of training, which is faster. A new corruption re-runs only this stage."""
    cell = Cell.from_arguments(__doc__)
    section = params.section("suite", Suite)
    model, notes = storage.load(cell.model, device.choose())
    reduced = Reduced.as_trained(model, notes)
    fitted = read_record(cell.result(TEMPERATURE), WEIGHTS_DIGEST, "temperature")
    cell.refuse_other_model(cell.result(TEMPERATURE), fitted[WEIGHTS_DIGEST], notes[WEIGHTS_DIGEST])
    all_images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    refuse_images("data/raw/test.npz", all_images, all_labels, notes)
    names = section.corruptions
    (chosen,) = read_npz(f"data/suite/{names[0]}.npz", "indices")
    refuse_beyond(f"data/suite/{names[0]}.npz", len(all_labels), chosen)
    labels, clean = all_labels[chosen], {0: all_images[chosen]}
    rows, text, confidence = score(reduced, "clean", clean, labels, fitted["temperature"])
    texts, confidences, digests = {"clean": text}, {"clean": confidence}, {}
    for name in names:
        path = f"data/suite/{name}.npz"
        copies, indices = read_npz(f"data/suite/{name}.npz", "images", "indices")
        if not np.array_equal(indices, chosen):
            raise StudyError(f"{path} is of other test images than the other files; run `dvc repro -f suite`")
        refuse_shape(path, images=(copies, (SEVERITIES, len(indices), *all_images.shape[1:])))
        digests[name] = array_digest(copies)
        of_severity = dict(enumerate(copies, start=1))
        of_each, texts[name], confidences[name] = score(reduced, name, of_severity, labels, fitted["temperature"])
        rows += of_each
        shown = " ".join(f"{row['accuracy']:.3f}" for row in of_each)
        print(f"{name:18s} {shown}  of {len(chosen)} images", flush=True)
    write_npz(cell.stressed, **confidences, **{WEIGHTS_DIGEST: np.array(notes[WEIGHTS_DIGEST])})
    write_record(
        cell.result("stress.json"),
        {
            "model": cell.key,
            WEIGHTS_DIGEST: notes[WEIGHTS_DIGEST],
            IMAGES_DIGEST: content_digest(digests),
            CONFIDENCES_DIGEST: array_digest(*confidences.values()),
            "computed_with": device.describe(model.mean.device) | {"precision": reduced.precision},
            "images": len(chosen),
            "temperature": fitted["temperature"],
            "rows": rows,
            "test_indices": to_text(chosen),
            "labels": to_text(labels),
            "predictions": texts,
        },
    )


if __name__ == "__main__":
    run(main)
