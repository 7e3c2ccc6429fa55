"""Stage `render@LOSS-TRAINSET-SEED`: draws a UMAP plane, with a caption that says how far to trust it.

Reads `data/embedded/KEY.npz` and `.json`, the raw test labels and the class names. Writes `plane.png` and `plane.json`
(the measures of trust) into `reports/planes/KEY/`, which is in git.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.cell import WEIGHTS_DIGEST, Cell
from robustness_study.core.files import copy_file, read_npz, read_record
from robustness_study.core.fits import refuse_beyond, refuse_labels, refuse_shape
from robustness_study.core.program import run
from robustness_study.planes.picture import caption_of, umap_planes


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    (labels,) = read_npz("data/raw/test.npz", "labels")
    classes = read_record("data/raw/source.json", "classes")["classes"]
    refuse_labels("data/raw/test.npz", labels, len(classes))
    names = ("clean", "clean_taken", "test_indices", "attacked_indices", "corrupted", "attacked")
    points, taken, chosen, attacked, *moved = read_npz(cell.embedded, *names)
    refuse_beyond(cell.embedded, len(labels), chosen, attacked)
    whole, part = (len(chosen), 2), (len(attacked), 2)
    refuse_shape(
        cell.embedded,
        clean=(points, whole),
        clean_taken=(taken, whole),
        corrupted=(moved[0], whole),
        attacked=(moved[1], part),
    )
    notes = read_record(cell.embedded.with_suffix(".json"), WEIGHTS_DIGEST)
    (weights,) = read_npz(cell.embedded, WEIGHTS_DIGEST)
    cell.refuse_other_model(cell.embedded, weights, notes[WEIGHTS_DIGEST])
    caption = caption_of(notes)  # distances in a UMAP plane mislead (Chari & Pachter 2023)
    before = {"corrupted": taken, "attacked": taken[np.searchsorted(chosen, attacked)]}
    after = dict(zip(before, moved, strict=True))
    of = {"corrupted": labels[chosen], "attacked": labels[attacked]}
    umap_planes(cell.plane("plane.png"), points, labels[chosen], before, after, of, classes, caption)
    copy_file(cell.embedded.with_suffix(".json"), cell.plane("plane.json"))
    print(caption)


if __name__ == "__main__":
    run(main)
